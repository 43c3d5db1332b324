"""What the estimators share: draws as functions of noise, evaluated by a function of q and z."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import PRNGKey, check_count, spread
from jensen.gradient_estimators._replicated import Replicated

Function = Callable[[Any, Float[Array, " d"]], Float[Array, ""]]


class Evaluated:
    """q as `f` sees it at one of its own draws: `log_prob` of that very draw is known already and costs nothing.

    `log_q`: shape (K,), of each of the K draws that a `Replicated` q concatenates; K = 1 for any other. All else is
    q's. Lives inside one trace and is never part of a state.
    """

    def __init__(self, q: Any, z: Float[Array, " d"], log_q: Float[Array, " k"]):
        self._q, self._z, self._log_q = q, z, log_q

    def log_prob(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        """log q(z)."""
        return jnp.sum(self._log_q) if z is self._z else self._q.log_prob(z)

    def log_probs(self, z: Float[Array, " d"]) -> Float[Array, " k"]:
        """log q of each draw that z concatenates."""
        return self._log_q if z is self._z else log_probs(self._q, z)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._q, name)


def log_probs(q: Any, z: Float[Array, " d"]) -> Float[Array, " k"]:
    """log q of each of the K draws that z concatenates; one for a q that is not `Replicated`."""
    return q.log_probs(z) if isinstance(q, Evaluated | Replicated) else q.log_prob(z)[None]


def draw_and_log_probs(q: Any, eps: Any) -> tuple[Float[Array, " d"], Float[Array, " k"]]:
    """z(eps) and log q of each of the K draws that it concatenates, by one pass of q where it offers that."""
    if isinstance(q, Replicated):
        return q.from_noise_and_log_probs(eps)
    z, log_q = q.from_noise_and_log_prob(eps)
    return z, log_q[None]


def draw_noise(key: PRNGKey, q: Any, num_draws: int) -> Any:
    """Noise of `num_draws` draws, leading axis draws."""
    return spread(q.noise_many(key, num_draws))


def over_draws(value: Callable[[Any], Float[Array, ""]], noise: Any) -> Float[Array, " n"]:
    """`value` of the noise of each draw; a single one is no batch, whose axis of one would cost layouts and copies."""
    if jax.tree.leaves(noise)[0].shape[0] == 1:
        return value(jax.tree.map(lambda eps: eps[0], noise))[None]
    return jax.vmap(value)(noise)


def standard_error(values: Float[Array, " n"]) -> Float[Array, ""]:
    """Of the mean of independent values; NaN for a single one."""
    n = values.shape[0]
    return jnp.std(values, ddof=1) / math.sqrt(n) if n > 1 else jnp.full((), jnp.nan, values.dtype)


def check_num_draws(num_draws: int, least: int = 1) -> None:
    """Raises `InputError` for what is no whole number of at least `least` draws."""
    check_count("num_draws", num_draws, least)
