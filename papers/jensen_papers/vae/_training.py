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
    keys: Any,
    algorithm: Any,
    rows: Any,
    steps: int,
    watch: Callable[[Any, Any], Any],
    every: int,
    *,
    stacked: bool = False,
    hasty: bool = True,
) -> tuple[Any, Any]:
    """(last states, what `watch(state, target)` gave once in `every` steps), leading axis keys.

    `rows`: a target with all its rows at each step, or `Shuffled` ones; the steps are those that `jensen.run` takes.
    `stacked`: each key has an algorithm and rows of its own, along the leading axis of their arrays. `hasty`: compile
    in a third of the time, for code that is slower.
    """
    return _compiled(hasty)(keys, algorithm, rows, steps, watch, every, stacked)


@functools.cache
def _compiled(hasty: bool) -> Any:
    make: Any = eqx.filter_jit
    return make(_train_each, compiler_options=haste() if hasty else {})


def _train_each(
    keys: Any, algorithm: Any, rows: Any, steps: int, watch: Callable[[Any, Any], Any], every: int, stacked: bool
) -> Any:
    total = jnp.asarray(steps, jnp.int32)

    def run(key: Any, algorithm: Any, rows: Any) -> tuple[Any, Any]:
        target = getattr(rows, "exact", rows)
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

    own = eqx.if_array(0) if stacked else None
    return eqx.filter_vmap(run, in_axes=(0, own, own))(keys, algorithm, rows)
