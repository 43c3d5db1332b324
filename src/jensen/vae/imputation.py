"""Values that are missing, drawn from what a trained model makes of those that are not."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jensen.core import InputError, PRNGKey, check_key
from jensen.vae.model import LatentModel


def impute(
    key: PRNGKey,
    model: LatentModel,
    conditional: Any,
    X: Float[Array, "rows n"],
    missing: Bool[Array, "rows n"],
    sweeps: int = 100,
) -> Float[Array, "sweeps rows n"]:
    """A chain of rows: z ~ q(z | x), then x_missing ~ p(x | z), again and again; what is known stays.

    Where q is the exact posterior this is a Gibbs sampler, and p(x_missing | x_known) is what it ends in; with an
    approximate q it ends near there, however many sweeps it makes. Leave out the first sweeps, which remember the
    values that X holds in missing places (column means will do). All rows advance together.

    Raises `InputError` for shapes that differ, values that are not finite, or fewer than one sweep.

    Source: Rezende, Mohamed and Wierstra (2014), appendix F.
    """
    check_key(key)
    if X.shape != missing.shape or sweeps < 1:
        raise InputError(f"X {X.shape} and missing {missing.shape} must agree, and sweeps be at least 1, got {sweeps}")
    if not bool(np.all(np.isfinite(X))):
        raise InputError("X has values that are not finite: put column means in missing places, and mark them")
    return _chain(key, model, conditional, X, missing, sweeps)


@eqx.filter_jit
def _chain(key: PRNGKey, model: LatentModel, conditional: Any, X: Array, missing: Array, sweeps: int) -> Array:
    def row(key: PRNGKey, x: Array, gone: Array) -> Array:
        key_z, key_x = jax.random.split(key)
        drawn = model.likelihood.sample(key_x, model.decoder(conditional.given(x).sample(key_z)))
        return jnp.where(gone, drawn, x)

    def sweep(X: Array, key: PRNGKey) -> tuple[Array, Array]:
        X = jax.vmap(row)(jax.random.split(key, len(X)), X, missing)
        return X, X

    return jax.lax.scan(sweep, X, jax.random.split(key, sweeps))[1]
