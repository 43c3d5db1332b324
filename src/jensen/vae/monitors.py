"""What the latents are used for: divergence unit by unit, active units, and where the divergence goes."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jensen.core import InputError, PRNGKey, check_key, in_batches
from jensen.vae.priors import units_divergence

ACTIVE = 0.01  # variance of a unit's posterior mean over rows
BATCH = 64  # draws held against all rows at a time


class LatentUse(eqx.Module):
    """E_x KL(q(z | x) || N(0, I)) = mutual information + total correlation + divergence of the marginals, in nats.

    `divergence`: E_x KL of each unit, (d,), exact for a diagonal q. `activity`: variance over rows of each unit's
    posterior mean, (d,); `active`: whether it exceeds 0.01. `mutual_information`: I(row; z), at most log(rows).
    `total_correlation`: KL(q(z) || prod_j q(z_j)) of the aggregate posterior q(z) = mean_i q(z | x_i), the mixture over
    the rows given. `marginals`: sum_j KL(q(z_j) || N(0, 1)). `aggregate`: KL(q(z) || N(0, I)), of which the last two
    are the parts: the gap between what the decoder was trained on and what the prior draws. The last four are means
    over draws, with standard errors in `errors` by name.
    """

    divergence: Float[Array, " d"]
    activity: Float[Array, " d"]
    active: Bool[Array, " d"]
    mutual_information: Float[Array, ""]
    total_correlation: Float[Array, ""]
    marginals: Float[Array, ""]
    aggregate: Float[Array, ""]
    errors: dict[str, Float[Array, ""]]

    @property
    def active_units(self) -> int:
        """Number of active units."""
        return int(jnp.sum(self.active))


def latent_use(key: PRNGKey, conditional: Any, X: Float[Array, "rows n"], num_draws: int = 1000) -> LatentUse:
    """How `conditional`, a q(z | x) with `mean_and_cov`, uses its latents on the rows X; O(num_draws rows d).

    The aggregate is exactly the mixture over these rows, not of the population behind them: with few rows and narrow
    posteriors the total correlation and the aggregate's divergence come out too large. Estimates of them from
    minibatches are no estimates of these numbers.

    Raises `InputError` for fewer than two rows or draws.

    Source: the decomposition: Hoffman and Johnson (2016), ELBO surgery; Chen, Li, Grosse and Duvenaud (2018). Active
    units: Burda, Grosse and Salakhutdinov (2016).
    """
    check_key(key)
    if min(len(X), num_draws) < 2:
        raise InputError(f"latent_use wants at least two rows and two draws, got {len(X)} and {num_draws}")
    return _use(key, conditional, X, num_draws)


@eqx.filter_jit
def _use(key: PRNGKey, conditional: Any, X: Array, num_draws: int) -> LatentUse:
    def moments(x: Array) -> tuple[Array, Array]:
        mean, cov = conditional.given(x).mean_and_cov()
        return mean, 0.5 * jnp.log(jnp.diagonal(cov))

    means, log_scales = jax.vmap(moments)(X)
    rows, d = means.shape
    key_rows, key_draws = jax.random.split(key)
    # equal shares of the rows: less noise than rows drawn at random
    chosen = jax.random.permutation(key_rows, jnp.arange(num_draws) % rows)

    def one(pair: tuple[Array, Array]) -> Array:
        i, key = pair
        q = conditional.given(X[i])
        z, own = q.sample_and_log_prob(key)
        joint = jax.nn.logsumexp(jax.vmap(lambda x: conditional.given(x).log_prob(z))(X)) - math.log(rows)
        units = -0.5 * ((z - means) * jnp.exp(-log_scales)) ** 2 - log_scales - 0.5 * math.log(2 * math.pi)
        apart = jnp.sum(jax.nn.logsumexp(units, axis=0)) - d * math.log(rows)
        prior = -0.5 * (jnp.sum(z**2) + d * math.log(2 * math.pi))
        return jnp.stack([own - joint, joint - apart, apart - prior, joint - prior])

    values = in_batches(one, (chosen, jax.random.split(key_draws, num_draws)), BATCH)
    mean, error = jnp.mean(values, 0), jnp.std(values, 0, ddof=1) / math.sqrt(num_draws)
    activity = jnp.var(means, 0)
    names = ("mutual_information", "total_correlation", "marginals", "aggregate")
    errors: dict[str, Any] = dict(zip(names, error, strict=True))
    divergence = jnp.mean(units_divergence(means, log_scales), 0)
    return LatentUse(divergence, activity, activity > ACTIVE, mean[0], mean[1], mean[2], mean[3], errors)
