"""Linear algebra of Gaussian processes: the jitter policy, and what a failed factorisation is called.

Policy: a covariance of noise-free values gets `JITTER[dtype]` times its mean diagonal on the diagonal, once, always and
the same for every size; it is never raised silently. What still fails gives NaN inside compiled programs, and outside
them `explain` names the kernel and the closest pair of inputs.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jensen.core import InputError

LOG_2PI = math.log(2 * math.pi)
WHOLE = 400  # rows up to which a triangular factor is inverted by one solve: halves save time, and take XLA some


def jitter(k: Float[Array, "*b n n"]) -> Float[Array, "*b"]:
    """What is added to the diagonal of a noise-free covariance: 1e-10 of its mean, 1e-6 in single precision."""
    relative = 1e-10 if k.dtype == jnp.float64 else 1e-6
    return relative * jnp.mean(jnp.diagonal(k, axis1=-2, axis2=-1), -1)


def cholesky(k: Float[Array, "*b n n"]) -> Float[Array, "*b n n"]:
    """Lower factor of k + jitter(k) I; NaN where that is not positive definite."""
    return jnp.linalg.cholesky(k + jitter(k)[..., None, None] * jnp.eye(k.shape[-1], dtype=k.dtype))


def solve_lower(tril: Float[Array, "n n"], b: Float[Array, "n *m"]) -> Float[Array, "n *m"]:
    """L^-1 b."""
    return jax.scipy.linalg.solve_triangular(tril, b, lower=True)


def solve_upper(tril: Float[Array, "n n"], b: Float[Array, "n *m"]) -> Float[Array, "n *m"]:
    """L^-T b."""
    return jax.scipy.linalg.solve_triangular(tril, b, lower=True, trans=1)


@jax.custom_jvp
def log_normal(y: Float[Array, " n"], k: Float[Array, "n n"]) -> Float[Array, ""]:
    """log N(y; 0, k) in nats, for a full symmetric k; NaN where that is not positive definite.

    Its derivative is written out, with a = k^-1 y: -a^T dy + (a^T dk a - tr(k^-1 dk)) / 2, for half the time of one
    through the Cholesky factor. It can be differentiated forwards, backwards and again.
    """
    tril = _factor(k)
    return _log_normal(tril, solve_lower(tril, y))


def _factor(k: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """Its Cholesky factor: k^T is k, and lies in memory as LAPACK reads it; averaging the two would cost as much."""
    return jax.lax.linalg.cholesky(k.T, symmetrize_input=False)


def _log_normal(tril: Float[Array, "n n"], white: Float[Array, " n"]) -> Float[Array, ""]:
    return -0.5 * white @ white - jnp.sum(jnp.log(jnp.diagonal(tril))) - 0.5 * len(white) * LOG_2PI


@log_normal.defjvp
def _(primals: Any, tangents: Any) -> Any:
    (y, k), (dy, dk) = primals, tangents
    tril = _factor(k)
    white = solve_lower(tril, y)
    inverse = _inverse(k, jax.lax.stop_gradient(tril))
    a = inverse @ y
    return _log_normal(tril, white), -a @ dy + 0.5 * jnp.sum((jnp.outer(a, a) - inverse) * dk)


@jax.custom_jvp
def _inverse(k: Float[Array, "n n"], tril: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """k^-1 from the factor of k; a derivative takes two products, where one through the solves takes many."""
    return inverse_from(tril)[1]


@_inverse.defjvp
def _(primals: Any, tangents: Any) -> Any:
    inverse = _inverse(*primals)
    return inverse, -inverse @ tangents[0] @ inverse


def inverse_from(tril: Float[Array, "n n"]) -> tuple[Float[Array, "n n"], Float[Array, "n n"]]:
    """(U, U U^T) with U = L^-T: the inverse of L L^T by halves, 2 n^3 / 3 multiplications where two solves take 2 n^3.

    With L = [A 0; C B], U = [A^-T, -A^-T C^T B^-T; 0, B^-T]. Every product is of the kind a b or a b^T, which XLA's CPU
    code does at more than twice the speed of a^T b.
    """
    n = len(tril)
    if n <= WHOLE:
        upper = solve_upper(tril, jnp.eye(n, dtype=tril.dtype))
        return upper, upper @ upper.T
    half = n // 2
    upper_a, inverse_a = inverse_from(tril[:half, :half])
    upper_b, inverse_b = inverse_from(tril[half:, half:])
    corner = -(upper_a @ tril[half:, :half].T) @ upper_b
    off = corner @ upper_b.T
    upper = jnp.block([[upper_a, corner], [jnp.zeros((n - half, half), tril.dtype), upper_b]])
    return upper, jnp.block([[inverse_a + _squared(corner), off], [off.T, inverse_b]])


def _squared(c: Float[Array, "n m"]) -> Float[Array, "n n"]:
    """c c^T, its lower corner by symmetry."""
    half = len(c) // 2
    if len(c) <= WHOLE:
        return c @ c.T
    a, b = c[:half], c[half:]
    off = a @ b.T
    return jnp.block([[_squared(a), off], [off.T, _squared(b)]])


def explain(kernel: Any, x: Any) -> InputError:
    """The error for a covariance of `kernel` at `x` that has no Cholesky factor: names the two closest inputs."""
    from scipy.spatial import KDTree

    points = np.asarray(x, float).reshape(len(x), -1)
    distance, index = (np.asarray(a) for a in KDTree(points).query(points, k=2))
    first = int(np.argmin(distance[:, 1]))
    second = int(index[first, 1] if index[first, 1] != first else index[first, 0])
    gap = float(distance[first, 1])
    pair = f"inputs {min(first, second)} and {max(first, second)}"
    cause = f"{pair} coincide" if gap == 0 else f"the closest, {pair}, are {gap:.3g} apart"
    double = "" if jnp.result_type(float) == jnp.float64 else ", or compute in double precision"
    return InputError(
        f"The covariance of {type(kernel).__name__} at {len(points)} inputs is not positive definite in "
        f"{jnp.result_type(float)}: {cause}. Merge repeated inputs, shorten the lengthscale, raise the noise, or use a "
        f"rougher kernel (Matern-3/2){double}"
    )
