"""Proper scores of discrete models that can only be drawn from."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jensen.core import InputError, PRNGKey

Draw = Callable[[PRNGKey], Any]


def quadratic_score(model: Int[Array, " n"], data: Int[Array, " m"]) -> Float[Array, ""]:
    """mean over pairs of 1{z = z'} - 2 mean 1{z = y}, an unbiased estimate of |q - p|^2 - |p|^2; lower is better.

    `model`: n >= 2 draws z ~ q, `data`: m draws y ~ p, both whole numbers. Strictly proper: the expectation is smallest
    at q = p alone. All pairs are used (a U-statistic), by counting: O(n log n + m log n).

    Raises `InputError` for fewer than two draws of the model, or no data.

    Source: Kimpara, Frongillo and Waggoner (2023), Proper losses for discrete generative models.
    """
    n, m = model.shape[0], data.shape[0]
    if n < 2 or m < 1:
        raise InputError(f"quadratic_score needs two draws of the model and one of the data, got {n} and {m}")
    ordered = jnp.sort(model)

    def count(values: Array) -> Array:
        ends = jnp.searchsorted(ordered, values, side="right") - jnp.searchsorted(ordered, values, side="left")
        return jnp.sum(ends.astype(jnp.result_type(float)))

    return (count(model) - n) / (n * (n - 1)) - 2 * count(data) / (n * m)


def log_score(key: PRNGKey, draw: Draw, y: Any, most: int = 100_000) -> Float[Array, ""]:
    """H_{T-1} = sum_{j < T} 1 / j, T the first of independent draws z ~ q that equals y: E = -log q(y), in nats.

    Unbiased for every q(y) > 0, with finite variance; 1 / q(y) draws are wanted on average. Infinity where `most` draws
    did not meet y, never a truncated value: the score of a model that cannot make the datum.

    Raises `InputError` for most < 1.

    Source: inverse sampling, from -log q = sum_k (1 - q)^k / k; as a loss: Kimpara, Frongillo and Waggoner (2023).
    """
    if most < 1:
        raise InputError(f"most must be at least 1, got {most}")

    def go_on(carry: Any) -> Array:
        t, _, met = carry
        return ~met & (t <= most)

    def body(carry: Any) -> Any:
        t, total, _ = carry
        met = draw(jax.random.fold_in(key, t)) == y
        return t + 1, total + jnp.where(met, 0.0, 1.0 / t), met

    start = jnp.ones((), jnp.int32), jnp.zeros((), jnp.result_type(float)), jnp.zeros((), bool)
    _, total, met = jax.lax.while_loop(go_on, body, start)
    return jnp.where(met, total, jnp.inf)


def log_score_by_series(key: PRNGKey, draw: Draw, y: Any, stop: float, most: int = 100_000) -> Float[Array, ""]:
    """1{none of N draws equals y} / (N P(N)), N geometric, P(N) = stop (1 - stop)^(N - 1): E = -log q(y), in nats.

    One term of the series of -log q, picked at random. Its variance is finite if and only if `stop` <= q(y), and for a
    Poisson N never. Prefer `log_score`, whose variance is always finite.

    Raises `InputError` unless 0 < stop < 1, or for most < 1.

    Source: as `log_score`.
    """
    if not 0 < stop < 1:
        raise InputError(f"stop must lie between 0 and 1, got {stop}")
    if most < 1:
        raise InputError(f"most must be at least 1, got {most}")
    key_number, key_draws = jax.random.split(key)
    number = jnp.floor(jnp.log1p(-jax.random.uniform(key_number)) / jnp.log1p(-stop)) + 1
    number = jnp.minimum(number, most).astype(jnp.int32)

    def body(t: Array, met: Array) -> Array:
        return met | (draw(jax.random.fold_in(key_draws, t)) == y)

    met = jax.lax.fori_loop(0, number, body, jnp.zeros((), bool))
    weight = number * stop * (1 - stop) ** (number - 1.0)
    return jnp.where(met, 0.0, 1.0 / weight)
