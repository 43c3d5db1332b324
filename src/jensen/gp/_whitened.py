"""Products of whitened covariances, with derivatives that need one pass over them."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.gp._linalg import solve_lower


@jax.custom_jvp
def whitened_products(
    tril: Float[Array, "m m"], cross: Float[Array, "m n"], y: Float[Array, " n"]
) -> tuple[Float[Array, "m m"], Float[Array, " m"]]:
    """A A^T and A y with A = L^-1 Kuf: all that a sparse regression needs of its n rows, in two products of 2 n m^2.

    A itself is made, not Kuf Kuf^T, whose rounding L^-1 would enlarge by the condition of Kuu = L L^T. Derivatives:
    d(A A^T) = P + P^T with P = L^-1 (dKuf A^T - dL A A^T), so that backwards there is one more such product.
    """
    return _products(tril, cross, y)[1]


def _products(tril: Array, cross: Array, y: Array) -> tuple[Array, tuple[Array, Array]]:
    """A with y for a last row, and the products."""
    white = _inverse(tril) @ cross
    both = jnp.concatenate([white, y[None]])
    products = white @ both.T
    return both, (products[:, :-1], products[:, -1])


def _inverse(tril: Array) -> Array:
    return solve_lower(tril, jnp.eye(tril.shape[0], dtype=tril.dtype))


@whitened_products.defjvp
def _(primals: Any, tangents: Any) -> Any:
    tril, cross, y = primals
    dtril, dcross, dy = tangents
    both, (square, pulled) = _products(tril, cross, y)
    change = _inverse(tril) @ (dcross @ both.T - jnp.tril(dtril) @ jnp.concatenate([square, pulled[:, None]], 1))
    half, dpulled = change[:, :-1], change[:, -1]
    return (square, pulled), (half + half.T, dpulled + both[:-1] @ dy)
