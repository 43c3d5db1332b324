"""The smallest eigenvector of a symmetric matrix that is known by its products alone."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_ROUNDING = 100.0  # in units of eps and of the largest entry of T: a residual below it is noise


def smallest_eigenvector(
    matvec: Callable[[Float[Array, " n"]], Float[Array, " n"]], starts: Float[Array, "m n"]
) -> Float[Array, " n"]:
    """The unit vector v of least v^T A v in an m-dimensional Krylov space of A, m <= n; exact for m = n.

    Lanczos' recursion with full orthogonalisation: exactly m products with A, and m^2 n more operations. `starts`:
    random vectors; the first begins the recursion, and where a Krylov space is exhausted (A with few distinct
    eigenvalues, such as a multiple of the identity) the next goes on in its complement. v^T A v falls with m and is
    never below the smallest eigenvalue. `v` is not differentiable: hold A's parameters fixed.

    Source: Lanczos (1950); Golub and Van Loan (2013), section 10.3.
    """
    m, n = starts.shape
    eps = jnp.finfo(starts.dtype).eps

    def against(basis: Float[Array, "m n"], x: Float[Array, " n"]) -> Float[Array, " n"]:
        for _ in range(2):
            x = x - basis.T @ (basis @ x)
        return x / jnp.maximum(jnp.linalg.norm(x), jnp.finfo(x.dtype).tiny)

    def one(j: Array, carry: tuple[Array, ...]) -> tuple[Array, ...]:
        basis, diagonal, beside, residual, scale = carry
        length = jnp.linalg.norm(residual)
        exhausted = length <= _ROUNDING * eps * scale
        beta = jnp.where(exhausted, 0.0, length)
        unit = against(basis, jnp.where(exhausted, starts[j], residual / jnp.maximum(length, eps**2)))
        image = matvec(unit)
        alpha = unit @ image
        basis = basis.at[j].set(unit)
        residual = image - basis.T @ (basis @ image)
        scale = jnp.maximum(scale, jnp.maximum(jnp.abs(alpha), beta))
        return basis, diagonal.at[j].set(alpha), beside.at[j].set(beta), residual, scale

    zeros = jnp.zeros(m, starts.dtype)
    begun = (jnp.zeros_like(starts), zeros, zeros, jnp.zeros(n, starts.dtype), jnp.zeros((), starts.dtype))
    basis, diagonal, beside, _, _ = jax.lax.fori_loop(0, m, one, begun)
    off = jnp.diag(beside[1:], 1)
    _, vectors = jnp.linalg.eigh(jnp.diag(diagonal) + off + off.T)
    v = basis.T @ vectors[:, 0]
    return v / jnp.linalg.norm(v)
