"""Whether single latents follow single factors of variation: the mutual information gap."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jensen.core import InputError, PRNGKey, check_key, in_batches

BATCH = 64  # draws held against all rows at a time


class MutualInformationGap(eqx.Module):
    """The gap and what it is made of.

    `gap`: mean over factors k of (I(z_a; v_k) - I(z_b; v_k)) / H(v_k), a and b the latents that know most of it: one
    where each factor is known by one latent alone, zero where two know it equally. `gaps`: (factors,).
    `information`: I(z_j; v_k) in nats, (latents, factors), never below zero. `entropies`: H(v_k), (factors,).
    """

    gap: Float[Array, ""]
    gaps: Float[Array, " factors"]
    information: Float[Array, "d factors"]
    entropies: Float[Array, " factors"]


def mutual_information_gap(
    key: PRNGKey,
    means: Float[Array, "rows d"],
    scales: Float[Array, "rows d"],
    factors: Int[Array, "rows factors"] | np.ndarray,
    num_draws: int = 2000,
) -> MutualInformationGap:
    """How well latents z_j | x_i ~ N(`means`, `scales`^2), apart, follow known discrete `factors` v of the rows.

    I(z_j; v_k) = H(z_j) - H(z_j | v_k), both by draws from q: -E log (1/N) sum_n q(z_j | x_n), over all rows and over
    the rows with the same value of v_k. O(num_draws rows latents factors). The rows are the population: for a full
    factorial set they are all there is.

    Raises `InputError` for fewer than two latents, shapes that do not agree, or a factor of one value.

    Source: Chen, Li, Grosse and Duvenaud (2018), Isolating sources of disentanglement, section 4.
    """
    check_key(key)
    rows, d = means.shape
    if d < 2 or scales.shape != means.shape or factors.ndim != 2 or len(factors) != rows:
        raise InputError(
            "The gap wants means and scales (rows, at least 2 latents) and factors (rows, factors), got "
            f"{means.shape}, {scales.shape} and {factors.shape}"
        )
    codes = [np.unique(column, return_inverse=True)[1] for column in np.asarray(factors).T]
    constant = [k for k, code in enumerate(codes) if code.max() == 0]
    if constant:
        raise InputError(f"Factor {constant[0]} has one value only, and no information: leave it out")
    entropies = [-sum(p * math.log(p) for p in np.bincount(code) / rows) for code in codes]
    real = jnp.result_type(float)
    values = jnp.asarray(np.stack(codes, 1))
    information = _information(key, jnp.asarray(means, real), jnp.asarray(scales, real), values, num_draws)
    ordered = jnp.sort(information, axis=0)
    gaps = (ordered[-1] - ordered[-2]) / jnp.asarray(entropies, real)
    return MutualInformationGap(jnp.mean(gaps), gaps, information, jnp.asarray(entropies, real))


@eqx.filter_jit
def _information(key: PRNGKey, means: Array, scales: Array, values: Array, num_draws: int) -> Array:
    rows = len(means)
    key_rows, key_draws = jax.random.split(key)
    # equal shares of the rows: less noise than rows drawn at random
    chosen = jax.random.permutation(key_rows, jnp.arange(num_draws) % rows)
    counts = jnp.sum(values[:, None] == values[None], 0)  # rows that share row i's value of factor k
    z = means[chosen] + scales[chosen] * jax.random.normal(key_draws, (num_draws, means.shape[1]), means.dtype)

    def one(pair: tuple[Array, Array]) -> Array:
        i, z = pair
        log_q = -0.5 * ((z - means) / scales) ** 2 - jnp.log(scales)  # row, unit
        alone = jax.nn.logsumexp(log_q, 0) - math.log(rows)
        shared = (values == values[i])[:, None]  # row, 1, factor
        given = jax.nn.logsumexp(jnp.where(shared, log_q[..., None], -jnp.inf), 0) - jnp.log(counts[i])
        return given - alone[:, None]

    return jnp.maximum(jnp.mean(in_batches(one, (chosen, z), BATCH), 0), 0.0)
