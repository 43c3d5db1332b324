"""What the pathwise estimators share: draws as functions of noise, evaluated by a function of q and z."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import Density, PRNGKey

Function = Callable[[Any, Float[Array, " d"]], Float[Array, ""]]


class Evaluated:
    """q as `f` sees it at one of its own draws: `log_prob` of that very draw is known already and costs nothing.

    All else is q's. Lives inside one trace and is never part of a state.
    """

    def __init__(self, q: Density, z: Float[Array, " d"], log_q: Float[Array, ""]):
        self._q, self._z, self._log_q = q, z, log_q

    def log_prob(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        """log q(z)."""
        return self._log_q if z is self._z else self._q.log_prob(z)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._q, name)


def draw_noise(key: PRNGKey, q: Any, num_draws: int) -> Any:
    """Noise of `num_draws` draws, leading axis draws."""
    return jax.vmap(q.noise)(jax.random.split(key, num_draws))


def standard_error(values: Float[Array, " n"]) -> Float[Array, ""]:
    """Of the mean of independent values; NaN for a single one."""
    n = values.shape[0]
    return jnp.std(values, ddof=1) / math.sqrt(n) if n > 1 else jnp.full((), jnp.nan, values.dtype)
