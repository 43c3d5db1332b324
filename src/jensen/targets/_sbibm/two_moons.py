"""Two moons: a posterior of two crescents."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.stats import norm

from jensen.targets._sbibm._common import box, uniform
from jensen.targets._simulators import FunctionSimulator

RADIUS, WIDTH, OFFSET = 0.1, 0.01, 0.25


def two_moons() -> FunctionSimulator:
    """theta ~ U(-1, 1)^2; x = (r cos a + 0.25, r sin a) + (-|theta_1 + theta_2|, theta_2 - theta_1) / sqrt 2.

    a ~ U(-pi/2, pi/2), r ~ N(0.1, 0.01^2).
    """
    return FunctionSimulator(box(-1.0, 1.0, 2), _prior, _model, _log_joint)


def _prior(key: Any) -> Any:
    return uniform(key, -1.0, 1.0, 2)


def _centre(theta: Any) -> Any:
    moved = jnp.stack([-jnp.abs(theta[0] + theta[1]), theta[1] - theta[0]]) / math.sqrt(2)
    return moved.at[0].add(OFFSET)


def _model(key: Any, x: Any) -> Any:
    key_angle, key_radius = jax.random.split(key)
    angle = jax.random.uniform(key_angle, minval=-math.pi / 2, maxval=math.pi / 2)
    radius = RADIUS + WIDTH * jax.random.normal(key_radius)
    return _centre(x["theta"]) + radius * jnp.stack([jnp.cos(angle), jnp.sin(angle)])


def _log_joint(x: Any, data: Any) -> Any:
    u, v = data - _centre(x["theta"])
    # a negative radius, ten standard deviations away, is left out of the density as of no weight
    radius = jnp.sqrt(u**2 + v**2)
    inside = norm.logpdf(radius, RADIUS, WIDTH) - jnp.log(math.pi * radius) - 2 * math.log(2.0)
    return jnp.where(u > 0, inside, -jnp.inf)
