"""Adam with a schedule, clipping by past norms, and steps that are skipped: what gradient methods share."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jensen.core import Clock, Scalar

PATIENCE = 10  # steps in a row with a gradient that is not finite before the step gives up
FIRST, SECOND, EPSILON = 0.9, 0.999, 1e-8  # of Adam
MEMORY = 0.9  # of the running norm of gradients that clipping is measured against

# Adam's moments, the running norm of its gradients and the number of steps skipped in a row
Moments = tuple[Any, Float[Array, ""], Int[Array, ""]]


def begin(trainable: Any) -> Moments:
    """Before the first step."""
    return _adam().init(trainable), jnp.zeros((), jnp.result_type(float)), jnp.zeros((), jnp.int32)


def scheduled(clock: Clock, learning_rate: Scalar, warmup: Scalar, cooling: Scalar) -> Scalar:
    """r_t: a linear rise over `warmup` steps, constant, half a cosine over the last `cooling` part of the run."""
    rise = jnp.minimum(1.0, (clock.t + 1) / jnp.maximum(warmup, 1.0))
    past = jnp.clip((clock.fraction - (1 - cooling)) / jnp.maximum(cooling, 1e-6), 0.0, 1.0)
    return learning_rate * rise * 0.5 * (1 + jnp.cos(jnp.pi * past))


def descend(
    trainable: Any, gradient: Any, value: Float[Array, ""], moments: Moments, rate: Scalar, clip: Scalar
) -> tuple[Any, Moments, Float[Array, ""]]:
    """A step of Adam, the moments after it and the gradient's length.

    A gradient longer than `clip` times the running norm is cut to that length; a step whose gradient or value is not
    finite is skipped, and after ten in a row the result is NaN.
    """
    adam, norm, skips = moments
    length = jnp.sqrt(sum(jnp.sum(jnp.square(g)) for g in jax.tree.leaves(gradient)))
    usable: Bool[Array, ""] = jnp.isfinite(length) & jnp.isfinite(value)
    known = jnp.where(norm > 0, norm, length)
    shrink = jnp.where(usable, jnp.minimum(1.0, clip * known / jnp.maximum(length, 1e-30)), 0.0)
    gradient = jax.tree.map(lambda g: jnp.where(usable, shrink.astype(g.dtype) * g, 0.0), gradient)
    skipped = jnp.where(usable, 0, skips + 1)
    # a step that is skipped has rates of zero and keeps all of the moments: scalars say so, and not three arrays more
    adam = _averaged(gradient, adam, usable)
    rate = jnp.where(usable, -rate, jnp.where(skipped >= PATIENCE, jnp.nan, 0.0))
    moved = jax.tree.map(lambda p, u: p + (rate * u).astype(p.dtype), trainable, _direction(adam))
    norm = jnp.where(usable, MEMORY * known + (1 - MEMORY) * shrink * length, norm)
    return moved, (adam, norm, skipped), length


def _averaged(gradient: Any, adam: Any, usable: Bool[Array, ""]) -> Any:
    """Adam's moments after a gradient, or as they were.

    They are made before they are used: a program that computes them again from the old ones within the update must
    keep the old ones, and copies all of them at every step.
    """

    def average(decay: float, power: int, moments: Any) -> Any:
        keep, take = jnp.where(usable, decay, 1.0), jnp.where(usable, 1 - decay, 0.0)
        return jax.tree.map(
            lambda m, g: (keep.astype(m.dtype) * m + take.astype(m.dtype) * g**power).astype(m.dtype), moments, gradient
        )

    made = average(FIRST, 1, adam.mu), average(SECOND, 2, adam.nu)
    mu, nu = jax.lax.optimization_barrier(made)
    return adam._replace(count=adam.count + usable.astype(jnp.int32), mu=mu, nu=nu)


def _direction(adam: Any) -> Any:
    """m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps), and zero before the first step."""
    import optax

    count = jnp.maximum(adam.count, 1)
    mu, nu = (optax.tree.bias_correction(m, decay, count) for m, decay in ((adam.mu, FIRST), (adam.nu, SECOND)))
    return jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + EPSILON), mu, nu)


def _adam() -> Any:
    import optax

    return optax.scale_by_adam(FIRST, SECOND, EPSILON)
