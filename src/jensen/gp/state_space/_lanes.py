"""Linear algebra of many small matrices at once, the batch ("lanes") on the last axis.

Each product is a handful of vector instructions over lanes instead of a library call a matrix.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

WRITTEN_OUT = 8  # size up to which products are sums of vector products over lanes
UNROLLED = 4  # size up to which factorisations are written out instruction by instruction


def transpose(a: Float[Array, "p q b"]) -> Float[Array, "q p b"]:
    """A^T in each lane."""
    return jnp.swapaxes(a, 0, 1)


def matmul(a: Float[Array, "p q #b"], b: Float[Array, "q r #b"]) -> Float[Array, "p r b"]:
    """A B in each lane; a batch of one lane goes with all."""
    if a.shape[1] > WRITTEN_OUT:
        return jnp.moveaxis(jnp.moveaxis(a, -1, 0) @ jnp.moveaxis(b, -1, 0), 0, -1)
    return sum(a[:, j, None] * b[None, j] for j in range(a.shape[1]))  # pyright: ignore[reportReturnType]


def matvec(a: Float[Array, "p q #b"], x: Float[Array, "q #b"]) -> Float[Array, "p b"]:
    """A x in each lane."""
    return sum(a[:, j] * x[j] for j in range(a.shape[1]))  # pyright: ignore[reportReturnType]


def congruence(a: Float[Array, "p q #b"], s: Float[Array, "q q #b"]) -> Float[Array, "p p b"]:
    """A S A^T in each lane."""
    return matmul(matmul(a, s), transpose(a))


def eye(d: int, lanes: int = 1) -> Float[Array, "d d b"]:
    """I in each lane."""
    return jnp.broadcast_to(jnp.eye(d)[:, :, None], (d, d, lanes))


def block_diagonal(a: Float[Array, "p q #b"], b: Float[Array, "r s #b"]) -> Float[Array, "pr qs b"]:
    """diag(A, B) in each lane."""
    above = [(0, b.shape[0]), (0, b.shape[1]), (0, 0)]
    below = [(a.shape[0], 0), (a.shape[1], 0), (0, 0)]
    return jnp.pad(a, above) + jnp.pad(b, below)


def kronecker(a: Float[Array, "p p #b"], b: Float[Array, "q q #b"]) -> Float[Array, "r r b"]:
    """A (x) B in each lane."""
    p, q, lanes = a.shape[0], b.shape[0], max(a.shape[2], b.shape[2])
    return (a[:, None, :, None] * b[None, :, None, :]).reshape(p * q, p * q, lanes)


def cholesky(a: Float[Array, "p p b"]) -> Float[Array, "p p b"]:
    """Lower factor in each lane; NaN where A is not positive definite."""
    if a.shape[0] > UNROLLED:
        return jnp.moveaxis(jnp.linalg.cholesky(jnp.moveaxis(a, -1, 0)), 0, -1)
    return _by_columns(a, lambda pivot: jnp.where(pivot > 0, pivot, jnp.nan))


def root(a: Float[Array, "p p b"]) -> Float[Array, "p p b"]:
    """Lower factor in each lane of a semi-definite A: columns of pivots that are not positive are zero."""
    return _by_columns(a, lambda pivot: jnp.where(pivot > 0, pivot, jnp.inf))


def _by_columns(a: Array, admit: Callable[[Array], Array]) -> Array:
    columns = []
    for j in range(a.shape[0]):
        column = a[:, j] - sum(c * c[j] for c in columns)
        below = jnp.arange(a.shape[0])[:, None] >= j
        columns.append(jnp.where(below, column * jax.lax.rsqrt(admit(column[j])), 0.0))
    return jnp.stack(columns, 1)


def solve_lower(tril: Float[Array, "p p b"], rhs: Float[Array, "p q b"]) -> Float[Array, "p q b"]:
    """L^-1 R in each lane, by forward substitution."""
    if tril.shape[0] > UNROLLED:
        solve = jax.vmap(lambda t, r: jax.scipy.linalg.solve_triangular(t, r, lower=True), in_axes=-1, out_axes=-1)
        return solve(tril, rhs)
    rows: list[Array] = []
    for i in range(tril.shape[0]):
        rows.append((rhs[i] - sum(tril[i, j] * rows[j] for j in range(i))) / tril[i, i])
    return jnp.stack(rows)


def log_diagonal(tril: Float[Array, "p p b"]) -> Float[Array, " b"]:
    """sum_j log L_jj in each lane."""
    return sum(jnp.log(tril[j, j]) for j in range(tril.shape[0]))  # pyright: ignore[reportReturnType]


def absorb(cov: Float[Array, "p p b"], precision: Float[Array, "p p b"]) -> tuple[Array, Array]:
    """(C^-1 + J)^-1 and log det(I + J C) in each lane, C a semi-definite covariance and J a precision to be added.

    With C = U U^T: U (I + U^T J U)^-1 U^T. NaN where the sum is not positive definite.
    """
    half = root(cov)
    inner = congruence(transpose(half), precision)
    tril = cholesky(eye(cov.shape[0], inner.shape[2]).astype(inner.dtype) + inner)
    whitened = solve_lower(tril, jnp.broadcast_to(transpose(half), inner.shape))
    return matmul(transpose(whitened), whitened), 2 * log_diagonal(tril)
