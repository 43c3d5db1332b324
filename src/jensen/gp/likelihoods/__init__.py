"""Likelihood terms of latent Gaussian models: log density, quadrature, closed-form moments."""

from jensen.gp.likelihoods._base import Likelihood, normal_nodes
from jensen.gp.likelihoods.counts import NegativeBinomial, Poisson
from jensen.gp.likelihoods.discrete import BernoulliLogit, BernoulliProbit, Ordinal, Softmax
from jensen.gp.likelihoods.gaussian import Gaussian, Heteroscedastic, StudentT
from jensen.gp.likelihoods.readout import PoissonReadout

__all__ = [
    "BernoulliLogit",
    "BernoulliProbit",
    "Gaussian",
    "Heteroscedastic",
    "Likelihood",
    "NegativeBinomial",
    "Ordinal",
    "Poisson",
    "PoissonReadout",
    "Softmax",
    "StudentT",
    "normal_nodes",
]
