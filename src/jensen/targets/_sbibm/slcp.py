"""Simple likelihood, complex posterior: four points of a Gaussian whose moments are functions of five parameters."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from jensen.targets._sbibm._common import box, uniform
from jensen.targets._simulators import FunctionSimulator

POINTS, FLOOR = 4, 1e-6  # the floor of both variances is the benchmark's own


def slcp() -> FunctionSimulator:
    """theta ~ U(-3, 3)^5; four points x ~ N((theta_1, theta_2), S), data of shape (4, 2).

    S has the standard deviations theta_3^2 and theta_4^2, with 1e-6 added to both variances, and the covariance
    tanh(theta_5) theta_3^2 theta_4^2.
    """
    return FunctionSimulator(box(-3.0, 3.0, 5), _prior, _model, _log_joint)


def _prior(key: Any) -> Any:
    return uniform(key, -3.0, 3.0, 5)


def _factor(theta: Any) -> tuple[Any, Any, Any]:
    """The lower triangular factor of S: its corner, the entry below it, the last."""
    first, second = theta[2] ** 2, theta[3] ** 2
    corner = jnp.sqrt(first**2 + FLOOR)
    below = jnp.tanh(theta[4]) * first * second / corner
    return corner, below, jnp.sqrt(second**2 + FLOOR - below**2)


def _model(key: Any, x: Any) -> Any:
    theta, eps = x["theta"], jax.random.normal(key, (POINTS, 2))
    corner, below, last = _factor(theta)
    return theta[:2] + jnp.stack([corner * eps[:, 0], below * eps[:, 0] + last * eps[:, 1]], axis=1)


def _log_joint(x: Any, data: Any) -> Any:
    theta = x["theta"]
    corner, below, last = _factor(theta)
    away = data - theta[:2]
    first = away[:, 0] / corner
    second = (away[:, 1] - below * first) / last
    log_likelihood = -0.5 * jnp.sum(first**2 + second**2) - POINTS * (jnp.log(corner * last) + math.log(2 * math.pi))
    return log_likelihood - 5 * math.log(6.0)
