"""Training runs of autoencoders as one program over several keys, with what is watched on the way."""

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from jensen.core import Clock, PointPosterior
from jensen.core.compiled import haste


def train_each(
    keys: Any, algorithm: Any, rows: Any, steps: int, watch: Callable[[Any, Any], Any], every: int
) -> tuple[Any, Any]:
    """(last states, what `watch(state, target)` gave once in `every` steps), leading axis keys.

    `rows`: a target with all its rows at each step, or `Shuffled` ones; the steps are those that `jensen.run` takes.
    """
    return _compiled()(keys, algorithm, rows, steps, watch, every)


@functools.cache
def _compiled() -> Any:
    make: Any = eqx.filter_jit
    return make(_train_each, compiler_options=haste())


def _train_each(keys: Any, algorithm: Any, rows: Any, steps: int, watch: Callable[[Any, Any], Any], every: int) -> Any:
    target = getattr(rows, "exact", rows)
    total = jnp.asarray(steps, jnp.int32)

    def run(key: Any) -> tuple[Any, Any]:
        key_init, key_rows, key_steps = jax.random.split(key, 3)
        state = algorithm.init(key_init, target, PointPosterior(target.space, target.theta))
        moving, still = eqx.partition(state, eqx.is_array)

        def one(moving: Any, t: Any) -> tuple[Any, None]:
            seen = rows if rows is target else rows.realise_at(key_rows, t)
            after, _ = algorithm.step(
                jax.random.fold_in(key_steps, t), eqx.combine(moving, still), seen, Clock(t, total)
            )
            return eqx.filter(after, eqx.is_array), None

        def block(moving: Any, first: Any) -> tuple[Any, Any]:
            moving, _ = jax.lax.scan(one, moving, first + jnp.arange(every, dtype=jnp.int32))
            return moving, watch(eqx.combine(moving, still), target)

        moving, seen = jax.lax.scan(block, moving, every * jnp.arange(steps // every, dtype=jnp.int32))
        return eqx.combine(moving, still), seen

    return eqx.filter_vmap(run)(keys)
