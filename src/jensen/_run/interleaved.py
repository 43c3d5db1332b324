"""Runs side by side of which none waits for the others: a lane takes its next step, and then the next replica."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, Key

from jensen._run.chunk import begin, judged
from jensen.core import Clock, InTurns, PRNGKey, at_step, in_batches, stream
from jensen.core.random import STEP


class Lane(eqx.Module):
    """A run under way: of which replica, at which step, its state, and its step so far."""

    replica: Int[Array, "*lanes"]
    t: Int[Array, "*lanes"]
    state: Any
    under_way: Any


def run_interleaved(
    algorithm: InTurns,
    condition: Callable[[Any], Any],
    data: Any,
    keys: Key[Array, " replicas"],
    steps: int,
    lanes: int,
) -> tuple[Any, Bool[Array, " replicas"], Any]:
    """(last states, whether each began and stayed finite, draws of the steps), leading axis replicas.

    What `jax.vmap` of `run_inside` over `keys` and `data` gives, by `lanes` lanes, and a loop of its own because its
    turns are those of all lanes, each at another step of another replica. There each step lasts as long as the
    longest of all replicas; here a lane goes on by itself, and where its replica is done it takes up the next one. A
    replica that becomes NaN keeps its last finite state and is given up. Only the arrays of states come back.
    """
    replicas, total = keys.shape[0], jnp.asarray(steps, jnp.int32)
    lanes = min(lanes, replicas)

    def first(each: tuple[PRNGKey, Any]) -> tuple[Any, Bool[Array, ""]]:
        state, found, _ = begin(algorithm, condition(each[1]), each[0], None)
        return eqx.filter(state, eqx.is_array), found

    states, found = in_batches(first, (keys, data), lanes)
    rest = eqx.filter(
        eqx.filter_eval_shape(lambda: begin(algorithm, condition(_at(data, 0)), keys[0], None)[0]),
        lambda leaf: not isinstance(leaf, jax.ShapeDtypeStruct),
    )
    streams = jax.vmap(lambda key: stream(key, STEP))(keys)

    def opened(lane: Lane) -> Any:
        key = at_step(streams[lane.replica], lane.t)
        target = condition(_at(data, lane.replica))
        return algorithm.open(key, eqx.combine(lane.state, rest), target, Clock(lane.t, total))

    def turned(lane: Lane) -> Lane:
        target, state = condition(_at(data, lane.replica)), eqx.combine(lane.state, rest)
        under_way = algorithm.turn(state, lane.under_way, target, Clock(lane.t, total), whole=True)
        return eqx.tree_at(lambda lane: lane.under_way, lane, under_way)

    def closed(lane: Lane) -> tuple[Lane, Bool[Array, ""], Bool[Array, ""], Any]:
        """The lane one step further if its step is done, whether it is, whether it is finite then, and the draw."""
        done = ~algorithm.going(lane.under_way) & (lane.t < steps)
        target, state = condition(_at(data, lane.replica)), eqx.combine(lane.state, rest)
        new, step = algorithm.close(state, lane.under_way, target, Clock(lane.t, total))
        new = eqx.filter(new, eqx.is_array)
        finite, _ = judged(new, step)  # such runs end by themselves at their last step
        t = jnp.where(done, jnp.where(finite, lane.t + 1, total), lane.t)
        return Lane(lane.replica, t, _where(done & finite, new, lane.state), lane.under_way), done, finite, step.draw

    def look(carry: Any) -> Any:
        """Close what is done, hand out replicas to lanes that have none, open the next steps."""
        lane, ended, ok, draws, begun = carry
        at = lane.t
        lane, done, finite, draw = jax.vmap(closed)(lane)
        draws = jax.tree.map(lambda to, d: to.at[_row(done, lane), at].set(d, mode="drop"), draws, draw)
        free = done & (lane.t >= steps)
        ended, ok = jax.lax.cond(jnp.any(free), kept, lambda *a: a[:2], ended, ok, free, finite, lane)
        place = begun + jnp.cumsum(free, dtype=jnp.int32) - 1
        taken = free & (place < replicas)
        place = jnp.where(taken, place, 0)
        state = jax.vmap(_where)(taken, _at(ended, place), lane.state)
        lane = Lane(jnp.where(taken, place, lane.replica), jnp.where(taken, 0, lane.t), state, lane.under_way)
        under_way = jax.vmap(_where)(done, jax.vmap(opened)(lane), lane.under_way)
        lane = eqx.tree_at(lambda lane: lane.under_way, lane, under_way)
        return lane, ended, ok, draws, begun + jnp.sum(free, dtype=jnp.int32)

    def kept(ended: Any, ok: Array, free: Array, finite: Array, lane: Lane) -> tuple[Any, Array]:
        row = _row(free, lane)
        ended = jax.tree.map(lambda to, s: to.at[row].set(s, mode="drop"), ended, lane.state)
        return ended, ok.at[row].set(finite, mode="drop")

    def _row(which: Array, lane: Lane) -> Array:
        return jnp.where(which, lane.replica, replicas)  # out of range, so dropped, where it is none

    def body(carry: Any) -> Any:
        lane, *others = carry
        return look((jax.vmap(turned)(lane), *others))

    indices = jnp.arange(lanes, dtype=jnp.int32)
    zeros = jnp.zeros(lanes, jnp.int32)
    lane = Lane(indices, zeros, _at(states, indices), None)
    lane = Lane(indices, zeros, lane.state, jax.vmap(opened)(lane))
    shapes = jax.eval_shape(jax.vmap(closed), lane)[3]
    draws = jax.tree.map(lambda s: jnp.zeros((replicas, steps, *s.shape[1:]), s.dtype), shapes)
    carry = (lane, states, found, draws, jnp.asarray(lanes, jnp.int32))
    _, ended, ok, draws, _ = jax.lax.while_loop(lambda c: jnp.any(c[0].t < steps), body, carry)
    return ended, found & ok, draws


def _at(tree: Any, index: Any) -> Any:
    return jax.tree.map(lambda a: a[index], tree)


def _where(condition: Bool[Array, ""], new: Any, old: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)
