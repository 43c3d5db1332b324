"""One algorithm after another."""

from typing import Any

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
from jaxtyping import Array, Int

from jensen.core import (
    Algorithm,
    Clock,
    InputError,
    Posterior,
    PRNGKey,
    Scalar,
    Space,
    Step,
    StopCode,
    make_step,
    scalar_field,
)


class ThenState(eqx.Module):
    """Both states, and the step at which the second began (-1: not yet)."""

    first: Any
    second: Any
    began: Int[Array, ""]


class Then(Algorithm):
    """`first` while t / total < `at` and it goes on, then `second`, started at the first one's posterior.

    state_2 = second.init(posterior of state_1) at the change; each sees a clock of its own part. When `first` ends by
    itself (converged, stuck) the second begins at the next step. Draws of the first part are dropped. Scalars of both
    are in the history, NaN where the other one ran.

    Needs: what both need, and of `first` a posterior that can be had inside a compiled step. Gives: as `second`.
    Cost: the step of the one that runs; both are compiled.

    Raises `InputError` where `at` lies outside (0, 1).

    Source: composition; warm-up and sampling, or a rough and a fine family, as in Zhang et al. (2022).
    """

    first: Algorithm
    second: Algorithm
    at: Scalar = scalar_field(0.5)

    def __check_init__(self):
        if not isinstance(self.at, jax.core.Tracer) and eqx.is_array(self.at) and not 0 < float(self.at) < 1:
            raise InputError(f"at must lie between 0 and 1, got {float(self.at)}")

    @property
    def needs(self) -> Any:
        parts = (self.first.needs, self.second.needs)
        return tuple(n for part in parts for n in (part if isinstance(part, tuple) else (part,)))

    @property
    def gives(self) -> type:
        return self.second.gives

    @property
    def exact(self) -> bool:
        return self.first.exact or self.second.exact

    @property
    def brief(self) -> bool:
        return self.first.brief and self.second.brief

    @property
    def evaluations(self) -> int:
        return max(self.first.evaluations, self.second.evaluations)

    @property
    def discrete(self) -> bool:
        return self.first.discrete and self.second.discrete

    def check(self, target: Any) -> None:
        self.first.check(target)
        self.second.check(target)

    @property
    def lanes(self) -> int:
        return self.second.lanes or self.first.lanes

    @property
    def default_steps(self) -> int:
        return self.first.default_steps + self.second.default_steps

    @property
    def cooldown(self) -> float:
        return (1 - float(self.at)) * self.second.cooldown

    def init(self, key: PRNGKey, target: Any, start: Posterior) -> ThenState:
        # the second state is a placeholder of the right structure until the change
        return ThenState(
            self.first.init(key, target, start), self.second.init(key, target, start), jnp.asarray(-1, jnp.int32)
        )

    def step(self, key: PRNGKey, state: ThenState, target: Any, clock: Clock) -> tuple[ThenState, Step]:
        change = jnp.ceil(self.at * clock.total).astype(jnp.int32)
        shapes = [
            eqx.filter_eval_shape(algorithm.step, key, inner, target, clock)[1]
            for algorithm, inner in ((self.first, state.first), (self.second, state.second))
        ]
        names = {name for shape in shapes for name in shape.scalars}
        blank = jax.tree.map(lambda s: jnp.full(s.shape, _blank(s.dtype), s.dtype), shapes[1].draw)
        is_first = (state.began < 0) & (clock.t < change)
        began = jnp.where((state.began < 0) & ~is_first, clock.t, state.began)
        begins = began == clock.t
        arrays, rest = eqx.partition(state, eqx.is_array)

        def report(step: Step, draw: Any, stop: Any) -> Step:
            scalars = {name: step.scalars.get(name, jnp.nan) for name in names}
            return make_step(step.objective, step.residual, stop, draw, **scalars)

        def go_first(arrays: Any) -> tuple[Any, Step]:
            state = eqx.combine(arrays, rest)
            moved, step = self.first.step(key, state.first, target, Clock(clock.t, change))
            # an end of the first part is the beginning of the second, not of the run; failure is the run's
            failed = step.stop == StopCode.FAILED
            ended = (step.stop != StopCode.CONTINUE) & ~failed
            new = ThenState(moved, state.second, jnp.where(ended, clock.t + 1, -1).astype(jnp.int32))
            return eqx.filter(new, eqx.is_array), report(step, blank, jnp.where(failed, step.stop, StopCode.CONTINUE))

        def go_second(arrays: Any) -> tuple[Any, Step]:
            state = eqx.combine(arrays, rest)
            second = self._begin(key, state.first, state.second, target, begins)
            moved, step = self.second.step(key, second, target, Clock(clock.t - began, clock.total - began))
            return eqx.filter(ThenState(state.first, moved, began), eqx.is_array), report(step, step.draw, step.stop)

        arrays, step = jax.lax.cond(is_first, go_first, go_second, arrays)
        return eqx.combine(arrays, rest), step

    def _begin(self, key: PRNGKey, first: Any, second: Any, target: Any, now: Any) -> Any:
        arrays, rest = eqx.partition(second, eqx.is_array)

        def fresh(_: Any) -> Any:
            start = self.first.posterior(first, None, target.space)
            new = self.second.init(jax.random.fold_in(key, 1), target, start)
            return jax.tree.map(lambda a, old: jnp.asarray(a, old.dtype), eqx.filter(new, eqx.is_array), arrays)

        return eqx.combine(jax.lax.cond(now, fresh, lambda old: old, arrays), rest)

    def posterior(self, state: ThenState, draws: Any, space: Space) -> Posterior:
        began = int(state.began)
        if began < 0:  # stopped before the change: what there is
            return self.first.posterior(state.first, None, space)
        draws = None if draws is None else jax.tree.map(lambda a: a[began:], draws)
        return self.second.posterior(state.second, draws, space)

    def cautious(self) -> "Then | None":
        first, second = self.first.cautious(), self.second.cautious()
        if first is None and second is None:
            return None
        return eqx.tree_at(lambda a: (a.first, a.second), self, (first or self.first, second or self.second))


def _blank(dtype: Any) -> Any:
    return jnp.nan if jnp.issubdtype(dtype, jnp.inexact) else 0
