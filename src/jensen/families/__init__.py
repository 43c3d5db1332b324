"""Families q: what posteriors are approximated by."""

from jensen.families._builders import Builder, FullRank, LowRank, MeanField
from jensen.families.bijective import Bijective, round_trip_errors
from jensen.families.flow import Affine, Autoregressive, Coupling, Flow, FlowBuilder, Spline
from jensen.families.gaussian import DiagonalGaussian, Gaussian, gaussian_from_cov, kl_gaussian
from jensen.families.low_rank import LowRankGaussian
from jensen.families.mixture import GaussianMixture
from jensen.families.pushforward import Pushforward

__all__ = [
    "Affine",
    "Autoregressive",
    "Bijective",
    "Builder",
    "Coupling",
    "DiagonalGaussian",
    "Flow",
    "FlowBuilder",
    "FullRank",
    "Gaussian",
    "GaussianMixture",
    "LowRank",
    "LowRankGaussian",
    "MeanField",
    "Pushforward",
    "Spline",
    "gaussian_from_cov",
    "kl_gaussian",
    "round_trip_errors",
]
