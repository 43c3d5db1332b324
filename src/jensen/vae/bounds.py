"""How probable rows are under a trained model: importance-weighted bounds, row by row."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import InputError, PRNGKey, check_key, in_batches
from jensen.vae.model import row_target

DRAWS, ROWS = 100, 100  # at a time


def log_likelihood_bound(
    key: PRNGKey, model: Any, conditional: Any, X: Float[Array, "rows n"], num_draws: int = 100
) -> Float[Array, " rows"]:
    """log 1/K sum_k p(x, z_k) / q(z_k | x) of each row, in nats; K = `num_draws`, above 100 in hundreds.

    In expectation a lower bound on log p(x) that rises to it with K. All rows share one key, so that the value of a row
    does not depend on the others: differences between rows are less noisy than their mean.

    Raises `InputError` for fewer than one draw.

    Source: Burda, Grosse and Salakhutdinov (2016), Importance weighted autoencoders.
    """
    check_key(key)
    if num_draws < 1:
        raise InputError(f"num_draws must be at least 1, got {num_draws}")
    rounds = -(-num_draws // DRAWS)
    return _bounds(key, model, conditional, X, rounds, min(num_draws, DRAWS))


@eqx.filter_jit
def _bounds(key: PRNGKey, model: Any, conditional: Any, X: Array, rounds: int, draws: int) -> Array:
    def row(x: Float[Array, " n"]) -> Float[Array, ""]:
        q, target = conditional.given(x), row_target(model, x)

        def log_weight(key: PRNGKey) -> Float[Array, ""]:
            z, log_q = q.sample_and_log_prob(key)
            return target.log_density(z) - log_q

        def more(total: Float[Array, ""], key: PRNGKey) -> tuple[Float[Array, ""], None]:
            values = jax.vmap(log_weight)(jax.random.split(key, draws))
            return jnp.logaddexp(total, jax.nn.logsumexp(values)), None

        start = jnp.full((), -jnp.inf, X.dtype)
        return jax.lax.scan(more, start, jax.random.split(key, rounds))[0] - math.log(rounds * draws)

    return in_batches(row, X, ROWS)
