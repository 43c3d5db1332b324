"""Stop when rows that were held out are no longer told better."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jensen.algorithms.wrappers._wrapper import Wrapper
from jensen.core import (
    Algorithm,
    Clock,
    InputError,
    Posterior,
    PRNGKey,
    Space,
    Step,
    StopCode,
    at_step,
)

SEED = 0  # of the draws by which held-out rows are looked at: the same at every look, so that looks are comparable


class WatchedState(eqx.Module):
    """The inner state, the best one, its held-out loss and the latest one, and the looks since the best."""

    inner: Any
    best: Any
    lowest: Float[Array, ""]
    latest: Float[Array, ""]
    waited: Int[Array, ""]


class EarlyStopping(Wrapper):
    """theta* = argmin over looks, one in `every` steps, of the loss of held-out rows; `patience` looks in vain end it.

    The posterior is that of the best look; where the run ends before the first one, of the last state. All looks share
    their random draws. The history gets a scalar `held_out`: the latest loss in nats of a row. The minimum over noisy
    looks is a little optimistic: report a bound of rows that were never looked at.

    Args:
        algorithm: with a `loss(key, state, target)`, such as `AmortisedVI`.
        held_out: the target with the rows held out.
        every: steps between looks.
        patience: looks without improvement after which the run ends as converged.

    Raises `InputError` for an algorithm without a loss, or `every` or `patience` below one.

    Needs, gives: as the wrapped algorithm. Source: Prechelt (1998), Early stopping - but when?
    """

    algorithm: Algorithm
    held_out: Any
    every: int = eqx.field(static=True, default=100)
    patience: int = eqx.field(static=True, default=10)

    def __check_init__(self):
        if not hasattr(self.algorithm, "loss"):
            raise InputError(f"{type(self.algorithm).__name__} has no loss(key, state, target) of held-out rows")
        if min(self.every, self.patience) < 1:
            raise InputError(f"every and patience must be at least 1, got {self.every} and {self.patience}")

    def init(self, key: PRNGKey, target: Any, start: Posterior) -> WatchedState:
        inner = self.algorithm.init(key, target, start)
        real = jnp.result_type(float)
        best = jax.tree.map(lambda a: jnp.copy(a) if eqx.is_array(a) else a, inner)
        most = jnp.asarray(jnp.finfo(real).max, real)
        return WatchedState(inner, best, most, jnp.copy(most), jnp.zeros((), jnp.int32))

    def step(self, key: PRNGKey, state: WatchedState, target: Any, clock: Clock) -> tuple[WatchedState, Step]:
        inner, step = self.algorithm.step(key, state.inner, target, clock)
        looks = (clock.t + 1) % self.every == 0

        def look() -> Float[Array, ""]:
            key = at_step(jax.random.key(SEED), 0)
            mine: Any = self.algorithm
            return (mine.loss(key, inner, self.held_out) / self.held_out.num_rows).astype(state.latest.dtype)

        latest = jax.lax.cond(looks, look, lambda: state.latest)
        better = looks & (latest < state.lowest)
        unseen = state.lowest == jnp.finfo(state.lowest.dtype).max
        best = jax.tree.map(
            lambda new, old: jnp.where(better | unseen, new, old) if eqx.is_array(new) else new, inner, state.best
        )
        waited = jnp.where(better, 0, state.waited + looks.astype(jnp.int32))
        stop = jnp.where((step.stop == 0) & (waited >= self.patience), StopCode.CONVERGED, step.stop)
        shown = jnp.where(unseen & ~better, jnp.nan, latest)
        step = Step(
            step.objective, step.residual, stop.astype(jnp.int32), step.draw, step.scalars | {"held_out": shown}
        )
        return WatchedState(inner, best, jnp.where(better, latest, state.lowest), latest, waited), step

    def posterior(self, state: WatchedState, draws: Any, space: Space) -> Posterior:
        return self.algorithm.posterior(state.best, draws, space)
