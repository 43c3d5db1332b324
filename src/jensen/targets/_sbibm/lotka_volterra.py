"""Predators and prey over twenty days, both counted ten times with log-normal errors."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.stats import norm
from jaxtyping import Array, Float

from jensen.core import positive
from jensen.targets._posteriordb.models._forward_mode import by_forward_mode
from jensen.targets._posteriordb.models.lotka_volterra import log_populations
from jensen.targets._sbibm._common import log_normal, log_normal_log_prob, theta_space
from jensen.targets._simulators import FunctionSimulator

START = (30.0, 1.0)
LOCATION, SCALE = (-0.125, -3.0, -0.125, -3.0), (0.5, 0.5, 0.5, 0.5)  # of the logs of alpha, beta, gamma, delta
ERROR = 0.1
BOUNDS = (math.log(1e-10), math.log(1e4))  # of log populations, the benchmark's own


def lotka_volterra() -> FunctionSimulator:
    """log x_j ~ N(log z_j, 0.1^2), z the prey, then the predators, at t = 0, 2.1, ..., 18.9; data of shape (20,).

    du/dt = alpha u - beta u v, dv/dt = -gamma v + delta u v, (u, v)(0) = (30, 1). theta = (alpha, beta, gamma, delta),
    log-normal.
    """
    return FunctionSimulator(theta_space(4, positive()), _prior, _model, _log_joint)


def _prior(key: Any) -> Any:
    return log_normal(key, LOCATION, SCALE)


def _log_z(theta: Float[Array, " 4"]) -> Float[Array, " 20"]:
    """log populations, prey first; NaN where the solver gave up."""
    times = 2.1 * jnp.arange(10, dtype=theta.dtype)
    log_z = log_populations(theta, jnp.log(jnp.array(START, theta.dtype)), times).T.reshape(-1)
    return jnp.where(jnp.isfinite(log_z), jnp.clip(log_z, *BOUNDS), jnp.nan)


def _model(key: Any, x: Any) -> Any:
    log_z = _log_z(x["theta"])
    return jnp.exp(log_z + ERROR * jax.random.normal(key, log_z.shape))


def _log_joint(x: Any, data: Any) -> Any:
    log_z = by_forward_mode(_log_z)(x["theta"])
    fine = jnp.isfinite(log_z)
    log_x = jnp.log(data)
    log_likelihood = jnp.sum(norm.logpdf(log_x, jnp.where(fine, log_z, 0.0), ERROR) - log_x)
    log_prior = log_normal_log_prob(x["theta"], LOCATION, SCALE)
    return log_prior + jnp.where(jnp.all(fine), log_likelihood, -jnp.inf)
