"""Targets whose answers are known exactly: draws, moments and evidence."""

from jensen.targets.synthetic._base import SyntheticTarget
from jensen.targets.synthetic.banana import Banana
from jensen.targets.synthetic.funnel import Funnel
from jensen.targets.synthetic.gaussian import GaussianTarget, gaussian_target, random_gaussian
from jensen.targets.synthetic.many_well import ManyWell
from jensen.targets.synthetic.mixture import GaussianMixtureTarget, gaussian_mixture_target, two_modes
from jensen.targets.synthetic.ring import Ring

__all__ = [
    "Banana",
    "Funnel",
    "GaussianMixtureTarget",
    "GaussianTarget",
    "ManyWell",
    "Ring",
    "SyntheticTarget",
    "gaussian_mixture_target",
    "gaussian_target",
    "random_gaussian",
    "two_modes",
]
