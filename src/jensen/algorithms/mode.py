"""The mode of the log density, by L-BFGS from several starts."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jensen._numerics.lanes import over_lanes
from jensen._numerics.lbfgs import Descent, advance, decrement, start_descent, trial
from jensen.algorithms._starts import start_points
from jensen.core import (
    Algorithm,
    Clock,
    Compiled,
    InputError,
    LogDensity,
    PointPosterior,
    Posterior,
    PRNGKey,
    Scalar,
    Space,
    Step,
    StopCode,
    make_step,
    require,
    scalar_field,
)


class ModeState(eqx.Module):
    """A descent of -log p from every start (leading axis starts), and which of them have ended."""

    descents: Descent
    ended: Bool[Array, " starts"]


class Mode(Algorithm):
    """z* = argmax log p(z) by limited-memory BFGS: z <- z - length H grad(-log p), H from the last `memory` steps.

    Climbs from `num_starts` points at once; one evaluation of value and gradient a step and start, O(memory d) besides,
    so that d may be in the millions. The best of the points found comes out, the others with it
    (`PointPosterior.others`). The mode in unconstrained coordinates depends on the coordinates and says nothing of the
    spread: no certificate can vouch for it; for scales in hierarchies it is often far from the mass.

    `tolerance`: the distance to the mode, in posterior standard deviations (by the approximate inverse Hessian), at
    which a climb ends. The objective in the history is the best -log p in nats.

    Raises `InputError` for fewer than one start or pair of memory.

    Source: Liu and Nocedal (1989), On the limited memory BFGS method for large scale optimization.
    """

    needs: ClassVar[Any] = LogDensity
    gives: ClassVar[type] = PointPosterior
    brief: ClassVar[bool] = True
    num_starts: int = eqx.field(static=True, default=4)
    memory: int = eqx.field(static=True, default=10)
    tolerance: Scalar = scalar_field(1e-6)

    def __check_init__(self):
        sizes = f"Mode.num_starts and memory must be 1 or more, got {self.num_starts} and {self.memory}"
        require(self.num_starts >= 1 and self.memory >= 1, sizes, InputError)

    @property
    def default_steps(self) -> int:
        return 1000

    def init(self, key: PRNGKey, target: Any, start: Posterior) -> ModeState:
        points = start_points(key, target, start, self.num_starts)
        descents = over_lanes(lambda z: start_descent(z, self.memory))(points)
        return ModeState(descents, jnp.zeros(self.num_starts, bool))

    def step(self, key: PRNGKey, state: ModeState, target: Any, clock: Clock) -> tuple[ModeState, Step]:

        def tried(descent: Descent) -> Any:
            value, gradient = jax.value_and_grad(lambda z: -target.log_density(z))(trial(descent))
            descent, accepted, lost = advance(descent, value, gradient)
            return descent, accepted, lost, decrement(descent)

        descents, accepted, lost, distance = over_lanes(tried)(state.descents)
        remembered = jnp.any(descents.weights > 0, axis=1)
        ended = state.ended | lost | (accepted & remembered & (distance < self.tolerance))
        best = jnp.argmin(descents.value)
        stop = jnp.where(jnp.all(ended), StopCode.CONVERGED, StopCode.CONTINUE)
        return ModeState(descents, ended), make_step(descents.value[best], distance[best], stop)

    def posterior(self, state: ModeState, draws: Any, space: Space) -> PointPosterior:
        return PointPosterior(space, *_best_first(state.descents.value, state.descents.z))


@Compiled
def _best_first(value: Float[Array, " k"], z: Float[Array, "k d"]) -> tuple[Float[Array, " d"], Float[Array, "rest d"]]:
    order = jnp.argsort(value)
    return z[order[0]], z[order[1:]]
