"""Gradient estimators: how an expectation under q is differentiated."""

from jensen.gradient_estimators import sites
from jensen.gradient_estimators.diagnostics import BoundGap, GradientNoise, bound_gap, gradient_noise
from jensen.gradient_estimators.doubly_reparameterised import DoublyReparameterised
from jensen.gradient_estimators.of_weights import OfWeights
from jensen.gradient_estimators.path_gradient import PathGradient
from jensen.gradient_estimators.per_site import PerSite
from jensen.gradient_estimators.reparameterised import Reparameterisation
from jensen.gradient_estimators.score_function import ScoreFunction
from jensen.gradient_estimators.sigma_points import SigmaPairs, SigmaPoints, sigma_points
from jensen.gradient_estimators.sticking_the_landing import StickingTheLanding
from jensen.gradient_estimators.stratified import Stratified, StratifiedStickingTheLanding
from jensen.gradient_estimators.vimco import VIMCO

__all__ = [
    "VIMCO",
    "BoundGap",
    "DoublyReparameterised",
    "GradientNoise",
    "OfWeights",
    "PathGradient",
    "PerSite",
    "Reparameterisation",
    "ScoreFunction",
    "SigmaPairs",
    "SigmaPoints",
    "StickingTheLanding",
    "Stratified",
    "StratifiedStickingTheLanding",
    "bound_gap",
    "gradient_noise",
    "sigma_points",
    "sites",
]
