"""Adam with a schedule, clipping by past norms, and steps that are skipped: what gradient methods share."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jensen.core import Clock, Scalar

PATIENCE = 10  # steps in a row with a gradient that is not finite before the step gives up
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
    gradient = jax.tree.map(lambda g: jnp.where(usable, shrink * g, 0.0), gradient)
    direction, after = _adam().update(gradient, adam)
    rate = jnp.where(usable, -rate, 0.0)
    moved = jax.tree.map(lambda p, u: p + (rate * u).astype(p.dtype), trainable, direction)
    skipped = jnp.where(usable, 0, skips + 1)
    moved = jax.tree.map(lambda p: jnp.where(skipped >= PATIENCE, jnp.nan, p), moved)
    adam = jax.tree.map(lambda new, old: jnp.where(usable, new, old), after, adam)
    norm = jnp.where(usable, MEMORY * known + (1 - MEMORY) * shrink * length, norm)
    return moved, (adam, norm, skipped), length


def _adam() -> Any:
    # built anew where it is used: a transformation in a field holds fresh closures and would be traced again each run
    import optax

    return optax.scale_by_adam()
