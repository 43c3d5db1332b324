"""An epidemic in a population of a million, seen by tests of a thousand people on ten days."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln
from jaxtyping import Array, Float

from jensen.core import positive
from jensen.targets._ode import solve
from jensen.targets._posteriordb.models._forward_mode import by_forward_mode
from jensen.targets._sbibm._common import log_normal, log_normal_log_prob, theta_space
from jensen.targets._simulators import FunctionSimulator

POPULATION, TESTS = 1e6, 1000
LOCATION, SCALE = (math.log(0.4), math.log(0.125)), (0.5, 0.2)  # of log beta and log gamma, a day


def sir() -> FunctionSimulator:
    """x_j ~ Binomial(1000, i(t_j)) at t = 0, 17, ..., 153 days, i the infected share of ds/dt = -beta s i.

    di/dt = beta s i - gamma i, i(0) = 1e-6 = 1 - s(0). theta = (beta, gamma), log-normal.
    """
    return FunctionSimulator(theta_space(2, positive()), _prior, _model, _log_joint)


def _prior(key: Any) -> Any:
    return log_normal(key, LOCATION, SCALE)


def log_infected(theta: Float[Array, " 2"]) -> Float[Array, " 10"]:
    """log i at the ten times; infinite where the solver gave up."""
    beta, gamma = theta

    def field(y: Float[Array, " 2"]) -> Float[Array, " 2"]:
        s, i = jnp.exp(y)
        return jnp.stack([-beta * i, beta * s - gamma])

    start = jnp.log(jnp.array([1 - 1 / POPULATION, 1 / POPULATION], theta.dtype))
    return solve(field, start, 17.0 * jnp.arange(10, dtype=theta.dtype))[:, 1]


def _model(key: Any, x: Any) -> Any:
    log_i = log_infected(x["theta"])
    fine = jnp.isfinite(log_i)
    counts = jax.random.binomial(key, TESTS, jnp.where(fine, jnp.exp(log_i), 0.0), dtype=log_i.dtype)
    return jnp.where(fine, counts, jnp.nan)


def _log_joint(x: Any, data: Any) -> Any:
    log_i = by_forward_mode(log_infected)(x["theta"])
    fine = jnp.isfinite(log_i)
    log_i = jnp.where(fine, log_i, -1.0)
    ways = gammaln(TESTS + 1.0) - gammaln(data + 1.0) - gammaln(TESTS - data + 1.0)
    log_likelihood = jnp.sum(ways + data * log_i + (TESTS - data) * jnp.log1p(-jnp.exp(log_i)))
    log_prior = log_normal_log_prob(x["theta"], LOCATION, SCALE)
    return log_prior + jnp.where(jnp.all(fine), log_likelihood, -jnp.inf)
