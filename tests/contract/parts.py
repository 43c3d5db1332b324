"""The tables of objectives and estimators: a line here puts one through the contract of its kind."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from jensen import gradient_estimators as estimators
from jensen import objectives
from jensen.core import GradientEstimator, Objective

DRAWS = np.random.default_rng(0).normal(size=(50, 2))

# of a setting, so that another value of it can be seen to compile nothing
OBJECTIVES: dict[str, Callable[[float], Objective]] = {
    "ChiDivergence": lambda s: objectives.ChiDivergence(order=1.5 + s),
    "Cubo": lambda s: objectives.Cubo(order=1.5 + s),
    "DataEmphasisedElbo": lambda s: objectives.DataEmphasisedElbo(0.5 + s),
    "FDivergence": lambda s: objectives.FDivergence(),
    "ForwardChi": lambda s: objectives.ForwardChi(order=1.5 + s),
    "ForwardKL": lambda s: objectives.ForwardKL(),
    "ImportanceWeighted": lambda s: objectives.ImportanceWeighted(),
    "LossCalibrated": lambda s: objectives.LossCalibrated(gain, (jnp.asarray(s, jnp.result_type(float)),)),
    "MaximumLikelihood": lambda s: objectives.MaximumLikelihood(jnp.asarray(DRAWS + s, jnp.result_type(float))),
    "NegativeElbo": lambda s: objectives.NegativeElbo(),
    "PathMaximumLikelihood": lambda s: objectives.PathMaximumLikelihood(jnp.asarray(DRAWS + s, jnp.result_type(float))),
    "Renyi": lambda s: objectives.Renyi(alpha=0.2 + s),
    "TemperedElbo": lambda s: objectives.TemperedElbo(emphasis=0.5 + s),
    "ThermodynamicObjective": lambda s: objectives.ThermodynamicObjective(first=0.1 + s),
}

# those whose family is no density are tested with that family, in tests/objectives
OF_THEIR_OWN_FAMILY = {"LinearisedElbo", "SingularValueElbo"}

# those that differentiate the ELBO of a Gaussian without bias; per-site estimators have a contract of their own
ESTIMATORS: dict[str, Callable[[], GradientEstimator]] = {
    "DoublyReparameterised": lambda: estimators.DoublyReparameterised(num_draws=1),
    "PathGradient": lambda: estimators.PathGradient(num_draws=1),
    "Reparameterisation": lambda: estimators.Reparameterisation(num_draws=1),
    "ScoreFunction": lambda: estimators.ScoreFunction(num_draws=4),
    "StickingTheLanding": lambda: estimators.StickingTheLanding(num_draws=1),
}

# those that need several weights, which the ELBO has not, are tested in tests/gradient_estimators
OF_SEVERAL_WEIGHTS = {"VIMCO"}

# those without noise, or without it where f is quadratic, have no standard errors to be held to: tested there too
OF_POINTS = {"SigmaPairs", "SigmaPoints"}


def gain(z, a):
    return a * z[0]
