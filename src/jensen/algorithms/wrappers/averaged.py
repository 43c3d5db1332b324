"""Averages of iterates."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jensen.algorithms.wrappers._wrapper import Wrapper
from jensen.core import Algorithm, Clock, Posterior, PRNGKey, Scalar, Space, Step, scalar_field


class AveragedState(eqx.Module):
    """The inner state, the mean of its float leaves over the last part, and of how many steps."""

    inner: Any
    mean: Any
    count: Int[Array, ""]


class Averaged(Wrapper):
    """theta_bar = mean of theta_t over the last `part` of the run: the noise of the last iterates averages out.

    All float leaves of the wrapped state are averaged, and the posterior is that of the averaged state; the run itself
    goes on from the plain one. For algorithms of constant step; one that cools its steps down gains nothing. The mean
    of Cholesky factors is a Cholesky factor; of a chain of samples it means nothing.

    Needs, gives: as the wrapped algorithm. Source: Polyak and Juditsky (1992); for VI: Dhaka et al. (2020).
    """

    algorithm: Algorithm
    part: Scalar = scalar_field(0.5)

    def init(self, key: PRNGKey, target: Any, start: Posterior) -> AveragedState:
        inner = self.algorithm.init(key, target, start)
        return AveragedState(
            inner, jax.tree.map(jnp.copy, eqx.filter(inner, eqx.is_inexact_array)), jnp.zeros((), jnp.int32)
        )

    def step(self, key: PRNGKey, state: AveragedState, target: Any, clock: Clock) -> tuple[AveragedState, Step]:
        inner, step = self.algorithm.step(key, state.inner, target, clock)
        count = jnp.where(clock.fraction >= 1 - self.part, state.count + 1, 0)
        weight = 1 / jnp.maximum(count, 1)
        now = eqx.filter(inner, eqx.is_inexact_array)
        mean = jax.tree.map(lambda m, x: m + (weight * (x - m)).astype(m.dtype), state.mean, now)
        return AveragedState(inner, mean, count), step

    def posterior(self, state: AveragedState, draws: Any, space: Space) -> Posterior:
        rest = eqx.filter(state.inner, eqx.is_inexact_array, inverse=True)
        return self.algorithm.posterior(eqx.combine(state.mean, rest), draws, space)
