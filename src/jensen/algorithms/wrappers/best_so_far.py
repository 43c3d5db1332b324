"""The best state met."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jensen.algorithms.wrappers._wrapper import Wrapper
from jensen.core import Algorithm, Clock, Posterior, PRNGKey, Scalar, Space, Step, scalar_field


class BestState(eqx.Module):
    """The inner state, the best one, its smoothed objective, and the running one."""

    inner: Any
    best: Any
    lowest: Float[Array, ""]
    smooth: Float[Array, ""]
    seen: Int[Array, ""]


class BestSoFar(Wrapper):
    """theta* = argmin_t s_t with s_t <- m s_t-1 + (1 - m) objective_t, the smoothed objective; m = `memory`.

    The posterior is that of the best state rather than of the last; the run goes on from the last. With a noisy
    objective the smoothed value at the best is biased low, and it lags by 1 / (1 - m) steps: no bound is to be read
    off it. Steps whose objective is NaN count for nothing.

    Needs, gives: as the wrapped algorithm, which must report an objective. Source: the idea is folklore; smoothing by
    an exponential average as in Kingma and Ba (2015), bias corrected.
    """

    algorithm: Algorithm
    memory: Scalar = scalar_field(0.95)

    def init(self, key: PRNGKey, target: Any, start: Posterior) -> BestState:
        inner = self.algorithm.init(key, target, start)
        real = jnp.result_type(float)
        lowest = jnp.asarray(jnp.finfo(real).max, real)
        best = jax.tree.map(lambda a: jnp.copy(a) if eqx.is_array(a) else a, inner)
        return BestState(inner, best, lowest, jnp.zeros((), real), jnp.zeros((), jnp.int32))

    def step(self, key: PRNGKey, state: BestState, target: Any, clock: Clock) -> tuple[BestState, Step]:
        inner, step = self.algorithm.step(key, state.inner, target, clock)
        known = jnp.isfinite(step.objective)
        value = jnp.where(known, step.objective, 0.0)
        smooth = jnp.where(known, self.memory * state.smooth + (1 - self.memory) * value, state.smooth)
        seen = state.seen + known.astype(jnp.int32)
        corrected = smooth / jnp.maximum(1 - self.memory**seen, jnp.finfo(smooth.dtype).tiny)
        # until a memory's length of steps is in, the average is one of the first few values, and luck would win
        ripe = seen >= jnp.minimum(1 / (1 - self.memory), clock.total)
        better = known & ripe & (corrected < state.lowest)
        best = jax.tree.map(
            lambda new, old: jnp.where(better | ~ripe, new, old) if eqx.is_array(new) else new, inner, state.best
        )
        lowest = jnp.where(better, corrected, state.lowest)
        return BestState(inner, best, lowest, smooth, seen), step

    def posterior(self, state: BestState, draws: Any, space: Space) -> Posterior:
        return self.algorithm.posterior(state.best, draws, space)
