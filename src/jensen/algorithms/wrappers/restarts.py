"""Several runs at once from different starts."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jensen.algorithms.wrappers._wrapper import Wrapper
from jensen.core import (
    Algorithm,
    Clock,
    DrawsPosterior,
    InputError,
    PointPosterior,
    Posterior,
    PRNGKey,
    Space,
    Step,
    StopCode,
    finite_starts,
    make_step,
    outer_draws,
)

MEMORY = 0.95  # of the objective by which runs are compared


class RestartsState(eqx.Module):
    """Inner states, smoothed objectives and stop codes, leading axis restarts; steps taken."""

    inner: Any
    smooth: Float[Array, " num"]
    code: Int[Array, " num"]
    taken: Int[Array, ""]


class Restarts(Wrapper):
    """`num` runs of one algorithm, vmapped; result = argmin_i s_i with s_i the smoothed objective of run i.

    From a point: each run begins at another draw of `target.start` (the first at the point itself). From a posterior:
    all begin there and differ by their draws only. A run that has stopped waits for the others. The scalar `spread`
    in the history is max_i s_i - min_i s_i in nats: restarts that disagree have found different modes, and the best may
    still miss some. Cost: `num` times the algorithm.

    Needs, gives: as the wrapped algorithm. Raises `InputError` for num < 1 or an algorithm that gives draws (chains are
    not to be chosen among).

    Source: Yao, Vehtari and Gelman (2022), on multi-start inference and its disagreement.
    """

    algorithm: Algorithm
    num: int = eqx.field(static=True, default=4)

    def __check_init__(self):
        if self.num < 1:
            raise InputError(f"num must be at least 1, got {self.num}")
        if issubclass(self.algorithm.gives, DrawsPosterior):
            raise InputError(
                f"{type(self.algorithm).__name__} gives draws: run several chains instead of restarting it"
            )

    @property
    def lanes(self) -> int:
        return self.num

    def init(self, key: PRNGKey, target: Any, start: Posterior) -> RestartsState:
        key_start, key_init = jax.random.split(key)
        keys = jax.random.split(key_init, self.num)
        if isinstance(start, PointPosterior):
            points = start.z[None]
            if self.num > 1:
                others, _, found = finite_starts(key_start, target, self.num - 1, tries=2)
                points = jnp.concatenate([points, jnp.where(found, others, start.z)])
            begin = lambda key, z: self.algorithm.init(key, target, PointPosterior(start.space, z))  # noqa: E731
            inner = eqx.filter_vmap(begin)(keys, points)
        else:
            inner = eqx.filter_vmap(lambda key: self.algorithm.init(key, target, start))(keys)
        zeros = jnp.zeros(self.num, jnp.result_type(float))
        return RestartsState(inner, zeros, jnp.zeros(self.num, jnp.int32), jnp.zeros((), jnp.int32))

    def step(self, key: PRNGKey, state: RestartsState, target: Any, clock: Clock) -> tuple[RestartsState, Step]:
        keys = jax.random.split(key, self.num)
        move = lambda key, inner: self.algorithm.step(key, inner, target, clock)  # noqa: E731
        with outer_draws():
            moved, steps = eqx.filter_vmap(move)(keys, state.inner)
        live = (state.code == StopCode.CONTINUE) & _finite_lanes(moved, self.num)

        def keep(new: Any, old: Any) -> Any:
            return jnp.where(live.reshape(-1, *[1] * (new.ndim - 1)), new, old) if eqx.is_array(new) else new

        inner = jax.tree.map(keep, moved, state.inner)
        first = state.taken == 0
        value = jnp.where(first, steps.objective, MEMORY * state.smooth + (1 - MEMORY) * steps.objective)
        value = jnp.where(
            steps.stop == StopCode.CONVERGED, steps.objective, value
        )  # its own word for it: no noise to smooth
        # a run without a finite objective loses against any that has one
        highest = jnp.asarray(jnp.finfo(value.dtype).max, value.dtype)
        smooth = jnp.where(live, jnp.where(jnp.isfinite(value), value, highest), state.smooth)
        code = jnp.where(live, steps.stop, jnp.where(state.code == 0, StopCode.FAILED, state.code)).astype(jnp.int32)
        best = jnp.argmin(smooth)
        stop = jnp.where(jnp.all(code != StopCode.CONTINUE), code[best], StopCode.CONTINUE)
        scalars = {name: v[best] for name, v in steps.scalars.items()}
        scalars["spread"] = jnp.where(jnp.max(smooth) < highest, jnp.max(smooth) - jnp.min(smooth), jnp.inf)
        report = make_step(steps.objective[best], steps.residual[best], stop, None, **scalars)
        return RestartsState(inner, smooth, code, state.taken + 1), report

    def posterior(self, state: RestartsState, draws: Any, space: Space) -> Posterior:
        best = jnp.argmin(state.smooth)
        inner = jax.tree.map(lambda a: a[best] if eqx.is_array(a) else a, state.inner)
        return self.algorithm.posterior(inner, None, space)


def _finite_lanes(tree: Any, num: int) -> Any:
    leaves = [a.reshape(num, -1) for a in jax.tree.leaves(eqx.filter(tree, eqx.is_inexact_array))]
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(a), axis=1) for a in leaves]), axis=0)
