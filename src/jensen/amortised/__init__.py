"""Amortised inference: q(z | data), trained once on simulations, for every data set to come."""

from jensen.amortised.amortise import Amortisation, amortise, load, neural_posterior, simulations
from jensen.amortised.bars import Bars, quantile_edges
from jensen.amortised.conditional import Amortised, Conditional, Encoded, Head
from jensen.amortised.contextual_flow import ContextualFlow
from jensen.amortised.distribution_transformer import DistributionTransformer, distribution_transformer
from jensen.amortised.encoders import Encoder, Set, SetEncoder, Vector, VectorEncoder
from jensen.amortised.heads import FlowHead, Mixture, MixtureHead, SplineFlow
from jensen.amortised.network import Network
from jensen.amortised.prior_fitted import PriorFittedNetwork, prior_fitted_network
from jensen.amortised.regression import Regressed, Regression
from jensen.amortised.simulated_kl import SimulatedKL

__all__ = [
    "Amortisation",
    "Amortised",
    "Bars",
    "Conditional",
    "ContextualFlow",
    "DistributionTransformer",
    "Encoded",
    "Encoder",
    "FlowHead",
    "Head",
    "Mixture",
    "MixtureHead",
    "Network",
    "PriorFittedNetwork",
    "Regressed",
    "Regression",
    "Set",
    "SetEncoder",
    "SimulatedKL",
    "SplineFlow",
    "Vector",
    "VectorEncoder",
    "amortise",
    "distribution_transformer",
    "load",
    "neural_posterior",
    "prior_fitted_network",
    "quantile_edges",
    "simulations",
]
