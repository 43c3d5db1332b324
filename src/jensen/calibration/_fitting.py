"""A whole run of an algorithm inside one program, so that thousands run side by side."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from jensen._run.chunk import all_finite, begin
from jensen.core import Algorithm, Clock, PRNGKey, StopCode, Target, at_step, stream
from jensen.core.random import STEP


def run_inside(algorithm: Algorithm, target: Target, key: PRNGKey, steps: int) -> tuple[Any, Bool[Array, ""], Any]:
    """(last state, whether it began and stayed finite, draws of the steps or None): the loop without its guard.

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

    def kept(t: Int[Array, ""], arrays: Any, code: Array) -> tuple[Any, Array, Any]:
        new, step = once(t, arrays)
        finite = all_finite(new)
        going = code == StopCode.CONTINUE
        arrays = jax.tree.map(lambda a, b: jnp.where(going & finite, a, b), new, arrays)
        after = jnp.where(finite, step.stop, jnp.asarray(StopCode.NON_FINITE, jnp.int32))
        return arrays, jnp.where(going, after, code), step.draw

    zero = jnp.zeros((), jnp.int32)
    first = (arrays, jnp.where(found, zero, jnp.asarray(StopCode.FAILED, jnp.int32)))
    if jax.eval_shape(once, zero, arrays)[1].draw is None:

        def body(carry: Any) -> Any:
            t, (arrays, code) = carry
            return t + 1, kept(t, arrays, code)[:2]

        _, (arrays, code) = jax.lax.while_loop(
            lambda c: (c[0] < steps) & (c[1][1] == StopCode.CONTINUE), body, (zero, first)
        )
        draws = None
    else:

        def record(carry: Any, t: Int[Array, ""]) -> tuple[Any, Any]:
            arrays, code, draw = kept(t, *carry)
            return (arrays, code), draw

        (arrays, code), draws = jax.lax.scan(record, first, jnp.arange(steps, dtype=jnp.int32))
    ok = (code != StopCode.FAILED) & (code != StopCode.NON_FINITE)
    return eqx.combine(arrays, rest), ok, draws
