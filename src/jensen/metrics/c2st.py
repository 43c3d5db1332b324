"""Classifier two-sample test."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jensen.core import InputError, PRNGKey

FOLDS = 5
HIDDEN = 32
STEPS = 400
RATE = 0.01
WEIGHT_DECAY = 1e-2


def c2st(key: PRNGKey, x: Any, y: Any) -> tuple[float, float]:
    """(accuracy, standard error) with which a classifier tells two samples apart on rows that it was not trained on.

    1/2 where the distributions agree; for N(0, I) against N(m, I) at most Phi(|m| / 2). A network with one hidden layer
    of 32 units and a linear path, on standardised rows, by 400 full-batch Adam steps, five-fold cross-validated. It
    gives a lower bound on what can be told apart: a difference that this network does not learn is not seen.

    `x`, `y`: shapes (n, d) and (m, d); of the longer one the first min(n, m) rows are used. Raises `InputError` for
    shapes that do not agree or fewer than 20 rows. Source: Lopez-Paz and Oquab (2017).
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 20:
        raise InputError(f"c2st wants two samples of shape (n, d) with n >= 20, got {x.shape} and {y.shape}")
    n = min(len(x), len(y)) // FOLDS * FOLDS
    rows = np.concatenate([x[:n], y[:n]])
    spread = rows.std(0)
    rows = (rows - rows.mean(0)) / np.where(spread > 0, spread, 1.0)
    accuracy = _accuracy(key, jnp.asarray(rows, jnp.result_type(float)))
    return float(accuracy), math.sqrt(0.25 / (2 * n))


@eqx.filter_jit
def _accuracy(key: PRNGKey, rows: Float[Array, "total d"]) -> Float[Array, ""]:
    """Mean over folds of the accuracy on the fold held out; the first half of `rows` has label 0, the second 1."""
    import optax

    total, d = rows.shape
    labels = jnp.arange(total) >= total // 2
    key_fold, key_first = jax.random.split(key)
    fold = jnp.tile(jax.random.permutation(key_fold, total // 2) % FOLDS, 2)  # as many of each label in every fold
    optimiser = optax.adam(RATE)

    def logits(weights: dict[str, Array]) -> Float[Array, " total"]:
        hidden = jnp.tanh(rows @ weights["inner"] + weights["shift"])
        return hidden @ weights["outer"] + rows @ weights["linear"] + weights["bias"]

    def held_out(out: Array, key: PRNGKey) -> Array:
        train = (fold != out).astype(rows.dtype)
        first = {
            "inner": jax.random.normal(key, (d, HIDDEN), rows.dtype) / math.sqrt(d),
            "shift": jnp.linspace(-1.5, 1.5, HIDDEN, dtype=rows.dtype),
            "outer": jnp.zeros(HIDDEN, rows.dtype),
            "linear": jnp.zeros(d, rows.dtype),
            "bias": jnp.zeros((), rows.dtype),
        }

        def loss(weights: dict[str, Array]) -> Array:
            fit = jnp.sum(train * optax.sigmoid_binary_cross_entropy(logits(weights), labels)) / jnp.sum(train)
            return fit + WEIGHT_DECAY / total * sum(jnp.sum(w**2) for w in weights.values())

        def descend(_: Array, carry: tuple[Any, Any]) -> tuple[Any, Any]:
            weights, state = carry
            updates, state = optimiser.update(jax.grad(loss)(weights), state)
            return optax.apply_updates(weights, updates), state

        weights, _ = jax.lax.fori_loop(0, STEPS, descend, (first, optimiser.init(first)))
        right = ((logits(weights) > 0) == labels).astype(rows.dtype)
        return jnp.sum(right * (1 - train)) / jnp.sum(1 - train)

    return jnp.mean(jax.lax.map(lambda a: held_out(*a), (jnp.arange(FOLDS), jax.random.split(key_first, FOLDS))))
