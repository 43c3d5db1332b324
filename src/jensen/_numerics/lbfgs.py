"""Limited-memory BFGS that evaluates the function once a step: no inner line search, so that many can run in step."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

ARMIJO = 1e-4
CURVATURE = 1e-12  # least s^T y / y^T y of a pair that is remembered
LOST = 1e-12  # length of step, relative to the direction, at which no step was acceptable


class Descent(eqx.Module):
    """Where a minimisation of f is, and the next point to try: z + length * direction.

    `steps` and `changes` are the last pairs s = z' - z and y = g' - g, oldest first, with `weights` 1 / s^T y (0 for an
    empty place); `diagonal` is the diagonal inverse Hessian beneath them.
    """

    z: Float[Array, " d"]
    value: Float[Array, ""]
    gradient: Float[Array, " d"]
    direction: Float[Array, " d"]
    length: Float[Array, ""]
    steps: Float[Array, "memory d"]
    changes: Float[Array, "memory d"]
    weights: Float[Array, " memory"]
    diagonal: Float[Array, " d"]


def trial(descent: Descent) -> Float[Array, " d"]:
    """The next point at which f and its gradient are wanted."""
    return descent.z + descent.length * descent.direction


def decrement(descent: Descent) -> Float[Array, ""]:
    """sqrt(g^T H g), H the inverse Hessian so far: the distance to the minimum in standard deviations of exp(-f)."""
    return jnp.sqrt(jnp.maximum(-descent.gradient @ descent.direction, 0.0))


def start_descent(z: Float[Array, " d"], memory: int) -> Descent:
    """A descent whose first trial is z itself, accepted if it is finite."""
    d, dtype = z.shape[0], z.dtype
    empty = jnp.zeros((memory, d), dtype)
    highest = jnp.asarray(jnp.finfo(dtype).max, dtype)
    zero, none = jnp.zeros(d, dtype), jnp.zeros((), dtype)
    return Descent(z, highest, zero, zero, none, empty, empty, jnp.zeros(memory, dtype), jnp.ones(d, dtype))


def begin_again(descent: Descent, times: Float[Array, ""] | float = 1.0) -> Descent:
    """A descent of another function from here, about `times` as curved: the first trial is z itself, pairs are kept."""
    highest, zero = jnp.finfo(descent.z.dtype).max, jnp.zeros_like
    return eqx.tree_at(
        lambda d: (d.value, d.direction, d.length, d.changes, d.weights, d.diagonal),
        descent,
        (
            jnp.full_like(descent.value, highest),
            zero(descent.direction),
            zero(descent.length),
            descent.changes * times,
            descent.weights / times,
            descent.diagonal / times,
        ),
    )


def advance(
    descent: Descent, value: Float[Array, ""], gradient: Float[Array, " d"]
) -> tuple[Descent, Bool[Array, ""], Bool[Array, ""]]:
    """(next descent, whether the trial was accepted, whether it is lost) for f and its gradient at `trial(descent)`.

    A trial is accepted if it is finite and lowers f by Armijo's rule; else the step is cut by quadratic interpolation.
    Pairs of no positive curvature are not remembered, and the step grows instead.
    """
    z, slope = trial(descent), descent.gradient @ descent.direction
    finite = jnp.isfinite(value) & jnp.all(jnp.isfinite(gradient))
    rounding = 4 * jnp.finfo(z.dtype).eps * jnp.abs(descent.value)
    first = descent.length == 0
    accepted = finite & (first | (value <= descent.value + ARMIJO * descent.length * slope + rounding))

    s, y = z - descent.z, jnp.where(finite, gradient - descent.gradient, 0.0)
    useful = accepted & ~first & (s @ y > CURVATURE * (y @ y)) & (s @ y > 0)
    weight = jnp.where(useful, 1 / jnp.where(useful, s @ y, 1.0), 0.0)

    def remember(rows: Array, row: Array) -> Array:
        return jnp.where(useful, jnp.concatenate([rows[1:], row[None]]), rows)

    pairs = (remember(descent.steps, s), remember(descent.changes, y), remember(descent.weights, weight))
    diagonal = jnp.where(useful, update_diagonal(descent.diagonal, s, y), descent.diagonal)
    gradient = jnp.where(accepted, gradient, descent.gradient)
    direction = -inverse_hessian_product(*pairs, diagonal, gradient)

    rise = jnp.where(finite, value - descent.value, jnp.inf) - slope * descent.length
    vertex = -slope * descent.length**2 / (2 * rise)
    shorter = jnp.clip(jnp.where(jnp.isfinite(vertex), vertex, 0.0), 0.1 * descent.length, 0.5 * descent.length)
    plain = jnp.minimum(1.0, 1 / jnp.maximum(jnp.linalg.norm(direction), jnp.finfo(z.dtype).tiny))
    plain = jnp.where(jnp.any(descent.weights > 0), 1.0, plain)  # pairs say how far to go
    after = jnp.where(first, plain, jnp.where(useful, 1.0, 2 * descent.length))
    length = jnp.where(accepted, after, shorter)
    direction = jnp.where(accepted, direction, descent.direction)
    kept = Descent(
        jnp.where(accepted, z, descent.z),
        jnp.where(accepted, value, descent.value),
        gradient,
        direction,
        length,
        *pairs,
        diagonal,
    )
    return kept, accepted, ~accepted & (length < LOST)


def update_diagonal(a: Float[Array, " d"], s: Float[Array, " d"], y: Float[Array, " d"]) -> Float[Array, " d"]:
    """The inverse diagonal of diag(1 / a) after a BFGS update by (s, y), rescaled to s^T y. Gilbert et al. (1989)."""
    along, product, back = y @ (a * y), s @ y, s @ (s / a)
    return product / (along / a + y**2 - (along / back) * (s / a) ** 2)


def inverse_hessian_product(
    steps: Float[Array, "memory d"],
    changes: Float[Array, "memory d"],
    weights: Float[Array, " memory"],
    diagonal: Float[Array, " d"],
    vector: Float[Array, " d"],
) -> Float[Array, " d"]:
    """H v by the two-loop recursion, O(memory d); places of weight 0 change nothing."""

    def down(v: Array, pair: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        s, y, w = pair
        share = w * (s @ v)
        return v - share * y, share

    def up(v: Array, pair: tuple[Array, Array, Array, Array]) -> tuple[Array, None]:
        s, y, w, share = pair
        return v + s * (share - w * (y @ v)), None

    vector, shares = jax.lax.scan(down, vector, (steps, changes, weights), reverse=True)
    return jax.lax.scan(up, diagonal * vector, (steps, changes, weights, shares))[0]


def inverse_hessian(descent: Descent) -> Float[Array, "d d"]:
    """H as a matrix: H <- (I - w s y^T) H (I - w y s^T) + w s s^T from diag(a) through the pairs, O(memory d^2)."""

    def update(h: Array, pair: tuple[Array, Array, Array]) -> tuple[Array, None]:
        s, y, w = pair
        hy = h @ y
        mixed = jnp.outer(s, hy)
        return h - w * (mixed + mixed.T) + (w + w**2 * (y @ hy)) * jnp.outer(s, s), None

    return jax.lax.scan(update, jnp.diag(descent.diagonal), (descent.steps, descent.changes, descent.weights))[0]
