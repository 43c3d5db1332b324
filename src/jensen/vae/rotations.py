"""The nearest rotation of a matrix, with a derivative that is safe where singular values meet."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_ROUNDS = 12  # of Newton's iteration, which squares its error each round once scaled


@jax.custom_jvp
def nearest_rotation(a: Float[Array, "3 3"]) -> Float[Array, "3 3"]:
    """The orthogonal factor R of A = R S, S positive definite; of -A where det A < 0, so that det R = 1.

    R is the rotation nearest to A in Frobenius norm where det A > 0; on det A = 0 it jumps. By Newton's iteration
    X <- (X + X^-T) / 2, in closed form of the entries. Its derivative, dR = R W with W skew, W S + S W = R^T dA -
    dA^T R, needs no differences of singular values: equal ones, as those of a rotation, do no harm.

    Source: Higham (1986), Computing the polar decomposition.
    """
    det = jnp.linalg.det(a)
    x = jnp.where(det < 0, -a, a) / jnp.cbrt(jnp.maximum(jnp.abs(det), jnp.finfo(a.dtype).tiny))
    return jax.lax.fori_loop(0, _ROUNDS, lambda _, x: 0.5 * (x + _cofactors(x) / jnp.linalg.det(x)), x)


@nearest_rotation.defjvp
def _derivative(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (a,), (change,) = primals, tangents
    rotation = nearest_rotation(a)
    sign = jnp.where(jnp.linalg.det(a) < 0, -1.0, 1.0).astype(a.dtype)
    stretch, moved = sign * rotation.T @ a, sign * rotation.T @ change
    skew = moved - moved.T
    axis = jnp.stack([skew[2, 1], skew[0, 2], skew[1, 0]])
    # W S + S W for W = [w]x is [(tr S - S) w]x
    system = jnp.trace(stretch) * jnp.eye(3, dtype=a.dtype) - 0.5 * (stretch + stretch.T)
    w = _cofactors(system).T @ axis / jnp.linalg.det(system)
    zero = jnp.zeros((), a.dtype)
    turn = jnp.stack([zero, -w[2], w[1], w[2], zero, -w[0], -w[1], w[0], zero]).reshape(3, 3)
    return rotation, rotation @ turn


def _cofactors(x: Float[Array, "3 3"]) -> Float[Array, "3 3"]:
    """det(X) X^-T."""
    return jnp.stack([jnp.cross(x[1], x[2]), jnp.cross(x[2], x[0]), jnp.cross(x[0], x[1])])
