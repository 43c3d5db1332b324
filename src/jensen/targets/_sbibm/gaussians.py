"""Gaussian location tasks: a Gaussian prior, a uniform one, and a mixture of two widths."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.stats import norm

from jensen.targets._sbibm._common import box, theta_space, uniform
from jensen.targets._simulators import FunctionSimulator

D, SCALE = 10, math.sqrt(0.1)
BOUND = 10.0  # of the mixture's prior


def gaussian_linear() -> FunctionSimulator:
    """theta ~ N(0, 0.1 I), x ~ N(theta, 0.1 I), both of ten coordinates."""
    return FunctionSimulator(theta_space(D), _prior, _model, _log_joint)


def gaussian_linear_uniform() -> FunctionSimulator:
    """theta ~ U(-1, 1)^10, x ~ N(theta, 0.1 I)."""
    return FunctionSimulator(box(-1.0, 1.0, D), _uniform_prior, _model, _uniform_log_joint)


def gaussian_mixture() -> FunctionSimulator:
    """theta ~ U(-10, 10)^2, x ~ 1/2 N(theta, I) + 1/2 N(theta, 0.01 I)."""
    return FunctionSimulator(box(-BOUND, BOUND, 2), _wide_prior, _mixed_model, _mixed_log_joint)


def _prior(key: Any) -> Any:
    return {"theta": SCALE * jax.random.normal(key, (D,))}


def _model(key: Any, x: Any) -> Any:
    return x["theta"] + SCALE * jax.random.normal(key, (D,))


def _log_likelihood(theta: Any, data: Any) -> Any:
    return jnp.sum(norm.logpdf(data, theta, SCALE))


def _log_joint(x: Any, data: Any) -> Any:
    return jnp.sum(norm.logpdf(x["theta"], 0.0, SCALE)) + _log_likelihood(x["theta"], data)


def _uniform_prior(key: Any) -> Any:
    return uniform(key, -1.0, 1.0, D)


def _uniform_log_joint(x: Any, data: Any) -> Any:
    return _log_likelihood(x["theta"], data) - D * math.log(2.0)


def _wide_prior(key: Any) -> Any:
    return uniform(key, -BOUND, BOUND, 2)


def _mixed_model(key: Any, x: Any) -> Any:
    key_scale, key_noise = jax.random.split(key)
    scale = jnp.where(jax.random.bernoulli(key_scale), 1.0, 0.1)
    return x["theta"] + scale * jax.random.normal(key_noise, (2,))


def _mixed_log_joint(x: Any, data: Any) -> Any:
    parts = [jnp.sum(norm.logpdf(data, x["theta"], scale)) for scale in (1.0, 0.1)]
    return jnp.logaddexp(*parts) - math.log(2.0) - 2 * math.log(2 * BOUND)
