"""How many directions of a kernel a ridge sees: leverage scores and the effective dimension."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import require
from jensen.gp._linalg import solve_lower


def ridge_leverage_scores(gram: Float[Array, "n n"], ridge: Any) -> Float[Array, " n"]:
    """tau_i = [K (K + ridge I)^-1]_ii in [0, 1): how much of its own prediction a row makes, for a ridge > 0.

    They sum to `effective_dimension`. Computed as 1 - ridge [(K + ridge I)^-1]_ii, n^3. Raises `InputError` for a ridge
    that is not positive.

    Source: Alaoui and Mahoney (2015), Fast randomized kernel ridge regression with statistical guarantees.
    """
    _check(ridge)
    eye = jnp.eye(len(gram), dtype=gram.dtype)
    half = solve_lower(jnp.linalg.cholesky(gram + ridge * eye), eye)
    return 1 - ridge * jnp.sum(half**2, axis=0)


def effective_dimension(gram: Float[Array, "n n"], ridge: Any) -> Float[Array, ""]:
    """d_eff = tr K (K + ridge I)^-1 = sum_i l_i / (l_i + ridge) over the eigenvalues l_i of K.

    log det(I + K / ridge) <= d_eff (1 + log(|K| / ridge + 1)): it bounds regret and information gain. Raises
    `InputError` for a ridge that is not positive.

    Source: Zhang (2005); Calandriello, Lazaric and Valko (2017).
    """
    _check(ridge)
    eigenvalues = jnp.maximum(jnp.linalg.eigvalsh(gram), 0.0)
    return jnp.sum(eigenvalues / (eigenvalues + ridge))


def _check(ridge: Any) -> None:
    require(bool(ridge > 0), f"The ridge must be positive, got {ridge}")
