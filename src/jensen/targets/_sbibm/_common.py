"""What the tasks have in common: one unknown, and priors of independent coordinates."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.stats import norm
from jaxtyping import Array, Float

from jensen.core import PRNGKey, Space, Support, Variable, interval


def theta_space(d: int, support: Support | None = None) -> Space:
    """The space of one unknown `theta` of shape (d,)."""
    return Space((Variable("theta", (d,), support) if support is not None else Variable("theta", (d,)),))


def box(low: float, high: float, d: int) -> Space:
    """The space of `theta` in (low, high)^d."""
    return theta_space(d, interval(jnp.full(d, low), jnp.full(d, high)))


def uniform(key: PRNGKey, low: float, high: float, d: int) -> dict[str, Array]:
    """theta ~ U(low, high)^d."""
    return {"theta": jax.random.uniform(key, (d,), minval=low, maxval=high)}


def log_normal(key: PRNGKey, location: Any, scale: Any) -> dict[str, Array]:
    """log theta_i ~ N(location_i, scale_i^2)."""
    location, scale = jnp.asarray(location), jnp.asarray(scale)
    return {"theta": jnp.exp(location + scale * jax.random.normal(key, location.shape))}


def log_normal_log_prob(theta: Float[Array, " d"], location: Any, scale: Any) -> Float[Array, ""]:
    """The log density of `log_normal` at theta."""
    log_theta = jnp.log(theta)
    return jnp.sum(norm.logpdf(log_theta, jnp.asarray(location), jnp.asarray(scale)) - log_theta)
