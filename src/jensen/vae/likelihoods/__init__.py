"""Likelihoods p(x | decoder(z)) of a row of values."""

from jensen.vae.likelihoods._base import Likelihood
from jensen.vae.likelihoods.continuous import ContinuousBernoulli, Gaussian, HeteroscedasticGaussian, gaussian
from jensen.vae.likelihoods.discrete import Bernoulli, Categorical, DiscretisedLogistic, Multinomial, Poisson

__all__ = [
    "Bernoulli",
    "Categorical",
    "ContinuousBernoulli",
    "DiscretisedLogistic",
    "Gaussian",
    "HeteroscedasticGaussian",
    "Likelihood",
    "Multinomial",
    "Poisson",
    "gaussian",
]
