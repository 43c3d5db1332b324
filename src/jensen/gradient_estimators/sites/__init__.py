"""Estimators of single random sites: what `infer={"estimator": ...}` in a guide may say."""

from jensen.gradient_estimators.sites._base import Branching, Draw, Drawing, SiteEstimator
from jensen.gradient_estimators.sites.enumeration import Enumeration
from jensen.gradient_estimators.sites.gumbel_softmax import GumbelSoftmax
from jensen.gradient_estimators.sites.measure_valued import MeasureValued
from jensen.gradient_estimators.sites.pathwise import Implicit, Reparameterised, StickingTheLanding
from jensen.gradient_estimators.sites.rejection import Rejection, Sampler, standard_gamma
from jensen.gradient_estimators.sites.score import ScoreFunction, learned_baseline

__all__ = [
    "Branching",
    "Draw",
    "Drawing",
    "Enumeration",
    "GumbelSoftmax",
    "Implicit",
    "MeasureValued",
    "Rejection",
    "Reparameterised",
    "Sampler",
    "ScoreFunction",
    "SiteEstimator",
    "StickingTheLanding",
    "learned_baseline",
    "standard_gamma",
]
