"""A whole run of an algorithm inside one program: for thousands side by side, or as part of another computation."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from jensen._run.chunk import begin, judged
from jensen.core import Algorithm, Clock, PRNGKey, StopCode, Target, at_step, stream
from jensen.core.random import STEP


def until_stopped(
    once: Callable[[Int[Array, ""], Any], tuple[Any, Int[Array, ""]]], arrays: Any, code: Int[Array, ""], steps: int
) -> tuple[Any, Int[Array, ""]]:
    """(arrays, stop code) after `arrays, code = once(t, arrays)` for t = 0, 1, ... while the code is CONTINUE.

    `steps` times at most; not at all where `code`, that of the beginning, is another one.
    """

    def going(carry: Any) -> Bool[Array, ""]:
        return (carry[0] < steps) & (carry[2] == StopCode.CONTINUE)

    def body(carry: Any) -> Any:
        return carry[0] + 1, *once(carry[0], carry[1])

    return jax.lax.while_loop(going, body, (jnp.zeros((), jnp.int32), arrays, code))[1:]


def run_inside(algorithm: Algorithm, target: Target, key: PRNGKey, steps: int) -> tuple[Any, Bool[Array, ""], Any]:
    """(last state, whether it began and stayed finite, draws of the steps or None): the loop without its guard.

    It is no `drive`: that looks at the history on the host between its chunks, and within a program there is no host.
    The keys are those of `jensen.run`, so that the state is that of a run in which nothing was undone. A run that ends
    early keeps its state; draws after its end repeat nothing of use.
    """
    state, found, _ = begin(algorithm, target, key, None)
    arrays, rest = eqx.partition(state, eqx.is_array)
    step_stream, total = stream(key, STEP), jnp.asarray(steps, jnp.int32)

    def once(t: Int[Array, ""], arrays: Any) -> tuple[Any, Any]:
        now = Clock(t, total)
        new, step = algorithm.step(at_step(step_stream, t), eqx.combine(arrays, rest), target, now)
        return eqx.filter(new, eqx.is_array), step

    def kept(t: Int[Array, ""], arrays: Any) -> tuple[Any, Array, Any]:
        new, step = once(t, arrays)
        finite, code = judged(new, step)
        return jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, arrays), code, step.draw

    zero = jnp.zeros((), jnp.int32)
    first = jnp.where(found, zero, jnp.asarray(StopCode.FAILED, jnp.int32))
    if jax.eval_shape(once, zero, arrays)[1].draw is None:
        arrays, code = until_stopped(lambda t, arrays: kept(t, arrays)[:2], arrays, first, steps)
        draws = None
    else:  # a draw a step, whether the run has ended or not

        def record(carry: Any, t: Int[Array, ""]) -> tuple[Any, Any]:
            arrays, code = carry
            going = code == StopCode.CONTINUE
            new, after, draw = kept(t, arrays)
            arrays = jax.tree.map(lambda a, b: jnp.where(going, a, b), new, arrays)
            return (arrays, jnp.where(going, after, code)), draw

        (arrays, code), draws = jax.lax.scan(record, (arrays, first), jnp.arange(steps, dtype=jnp.int32))
    ok = (code != StopCode.FAILED) & (code != StopCode.NON_FINITE)
    return eqx.combine(arrays, rest), ok, draws
