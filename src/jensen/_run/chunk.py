"""The compiled part of the loop: begin, and a chunk of steps that ends early by itself."""

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from jensen._run.spread import exact as exact_of
from jensen._run.spread import laid, rows_spread, whole
from jensen.core import (
    Algorithm,
    Clock,
    Compiled,
    Fed,
    Form,
    Noisy,
    NoisyInOrder,
    PointPosterior,
    PRNGKey,
    Step,
    StopCode,
    Target,
    at_step,
    finite_starts,
    gathered,
    stream,
)
from jensen.core.random import BATCH, INIT, START, STEP

NUM_STARTS = 8  # lanes of the search for a first point of finite density
TRIES = 8  # rounds of it


@partial(Compiled, gather=False)
def begin(algorithm: Algorithm, target: Any, key: PRNGKey, start: Any) -> tuple[Any, Bool[Array, ""], Any]:
    """(first state, whether a point of finite density was found, that point or None)."""
    return first(algorithm, target, key, start)


@eqx.filter_jit
def first(algorithm: Algorithm, target: Any, key: PRNGKey, start: Any) -> tuple[Any, Bool[Array, ""], Any]:
    """What `begin` does, jitted so that its trace is shared with an inference of shapes."""
    exact = exact_of(whole(target))
    ok, point = jnp.asarray(True), None
    if start is None:
        points, _, ok = finite_starts(stream(key, START), exact, NUM_STARTS, TRIES)
        point = points[0]
        start = PointPosterior(exact.space, point, points[1:])
    state = _strong(algorithm.init(stream(key, INIT), exact, start))
    return laid(state, algorithm, exact), *gathered((ok, point))


def _strong(tree: Any) -> Any:
    return jax.tree.map(lambda a: jnp.asarray(a, a.dtype) if eqx.is_array(a) and a.weak_type else a, tree)


@eqx.filter_jit
def one_step(algorithm: Algorithm, key: PRNGKey, state: Any, target: Target, clock: Clock) -> tuple[Any, Step]:
    """One step, jitted so that its trace is shared by the shape inference and the loop body of `advance`."""
    return algorithm.step(key, state, target, clock)


@partial(Compiled, gather=False)
def advance(
    algorithm: Algorithm,
    target: Any,
    state: Any,
    key: PRNGKey,
    bounds: tuple[Int[Array, ""], Int[Array, ""], Int[Array, ""]],
    size: int,
) -> tuple[Any, Int[Array, ""], Int[Array, ""], Step]:
    """Steps t0 .. min(t0 + size, until) - 1 of `total`, with `bounds` = (t0, until, total).

    Returns (state, steps taken, stop code, records with leading axis `size`). A step after which the state is not
    finite ends the chunk with `NON_FINITE` and is not counted, but its state is what comes out: the one before it is
    had by another call up to there, which is rare and costs less than to keep both at every step. A step whose `stop`
    is not 0 ends the chunk too.
    """
    t0, until, total = bounds
    target = whole(target)
    arrays, rest = eqx.partition(state, eqx.is_array)
    step_stream, batch_stream = stream(key, STEP), stream(key, BATCH)

    def once(t: Int[Array, ""], arrays: Any) -> tuple[Any, Step]:
        seen = _realised(target, batch_stream, t)
        new, step = one_step(algorithm, at_step(step_stream, t), eqx.combine(arrays, rest), seen, Clock(t, total))
        return laid(eqx.filter(new, eqx.is_array), algorithm, exact_of(target)), step

    _, shapes = jax.eval_shape(once, t0, arrays)
    records = jax.tree.map(lambda s: jnp.zeros((size, *s.shape), s.dtype), shapes)

    def go_on(carry: Any) -> Bool[Array, ""]:
        _, taken, code, _ = carry
        return (taken < size) & (t0 + taken < until) & (code == StopCode.CONTINUE)

    def body(carry: Any) -> Any:
        arrays, taken, _, records = carry
        new, step = once(t0 + taken, arrays)
        finite, code = judged(new, step)
        records = jax.tree.map(lambda r, v: r.at[taken].set(v), records, step)
        return new, taken + finite.astype(jnp.int32), code, records

    zero = jnp.zeros((), jnp.int32)
    arrays, taken, code, records = jax.lax.while_loop(go_on, body, (arrays, zero, zero, records))
    return eqx.combine(arrays, rest), *gathered((taken, code, records))


def program(algorithm: Algorithm, target: Any) -> Form:
    """The form of `advance` for a run: in haste where its work is brief, the more so where a step is light."""
    if not algorithm.brief:
        return advance.full
    return advance.form(target, algorithm, evaluations=algorithm.evaluations, heavy=1)


def _realised(target: Any, batches: PRNGKey, t: Int[Array, ""]) -> Target:
    if isinstance(target, Fed):
        return rows_spread(target.fed_at(batches, t), target.weights.shape[1])
    if not isinstance(target, Noisy):
        return target
    in_order = isinstance(target, NoisyInOrder)
    seen = target.realise_at(batches, t) if in_order else target.realise(at_step(batches, t))
    return rows_spread(seen, getattr(target, "batch_size", 0))


def judged(new: Any, step: Step) -> tuple[Bool[Array, ""], Int[Array, ""]]:
    """Whether a state is finite after a step, and the stop code of the two."""
    finite = all_finite(new)
    return finite, jnp.where(finite, step.stop, jnp.asarray(StopCode.NON_FINITE, jnp.int32))


def all_finite(tree: Any) -> Bool[Array, ""]:
    """Whether every real number in the arrays of a tree is finite.

    A sum of squares is, unless a number is not or the squares overflow, and costs a third of looking at each number:
    that is done for the few steps whose sums leave a doubt.
    """
    leaves = [a for a in jax.tree.leaves(tree) if jnp.issubdtype(a.dtype, jnp.inexact)]
    if not leaves:
        return jnp.asarray(True)
    sure = jnp.all(jnp.stack([jnp.isfinite(jnp.sum(jnp.square(a))) for a in leaves]))
    return jax.lax.cond(sure, lambda _: jnp.asarray(True), _each_finite, leaves)


def _each_finite(leaves: list[Array]) -> Bool[Array, ""]:
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(a)) for a in leaves]))
