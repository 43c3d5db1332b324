"""The climb to the mode of an evidence, on some of the rows first."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jensen._numerics.lanes import over_lanes
from jensen._numerics.lbfgs import begin_again
from jensen.algorithms import Mode
from jensen.algorithms.mode import ModeState
from jensen.core import (
    Algorithm,
    Clock,
    PointPosterior,
    Posterior,
    PRNGKey,
    Scalar,
    Space,
    Step,
    StopCode,
    Target,
    as_scalar,
)
from jensen.gp.evidence_target import EvidenceTarget


class GrowingEvidence(Target):
    """The evidence of all rows, that can also be estimated from some of them.

    `whole`: the target. `few`: the same of some rows. `times`: how much more curved the evidence of all is (1 where few
    rows count for all themselves). Where the two have the same shapes they share one program.
    """

    space: Space
    whole: EvidenceTarget
    few: EvidenceTarget
    times: Scalar

    def __init__(self, whole: EvidenceTarget, few: EvidenceTarget, times: Any = 1.0):
        self.space, self.whole, self.few, self.times = whole.space, whole, few, as_scalar(times)

    @property
    def optimisation(self) -> int | None:
        """XLA's level of optimisation, as for the whole."""
        return self.whole.optimisation

    def log_density(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        return self.whole.log_density(z)

    def seen(self, few: Bool[Array, ""]) -> "Seen":
        """The target from few rows, or from all."""
        return Seen(self.space, self, few)


class Seen(Target):
    """A `GrowingEvidence` as it is seen now. Its log density has a gradient, and no second derivatives."""

    space: Space
    growing: GrowingEvidence
    few: Bool[Array, ""]

    def log_density(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        few, whole = self.growing.few, self.growing.whole
        if eqx.tree_equal(*(jax.tree.map(jnp.shape, eqx.filter(t, eqx.is_array)) for t in (few, whole))):
            seen = jax.tree.map(lambda a, b: jnp.where(self.few, a, b) if eqx.is_array(a) else a, few, whole)
            return seen.log_density(z)
        return _either(z, self)


@eqx.filter_custom_jvp
def _either(z: Float[Array, " d"], seen: Seen) -> Float[Array, ""]:
    """The log density from few rows or from all: the gradient is made in the branch that is taken, and not in both."""
    return jax.lax.cond(seen.few, seen.growing.few.log_density, seen.growing.whole.log_density, z)


@_either.def_jvp
def _(primals: Any, tangents: Any) -> Any:
    (z, seen), (dz, _) = primals, tangents
    both = seen.growing.few.log_density, seen.growing.whole.log_density
    value, gradient = jax.lax.cond(seen.few, *map(jax.value_and_grad, both), z)
    return value, gradient @ dz


class GrowingState(eqx.Module):
    """The descent, and for how many steps yet it sees some of the rows alone (0: it sees all)."""

    mode: ModeState
    left: Int[Array, ""]


class GrowingMode(Algorithm):
    """The climb `mode` for `before` steps on some of the rows, fewer where it converges on them, then on all.

    The pairs of L-BFGS are kept: the curvature of an estimate, times as much, is nearly that of the whole, and a
    descent that begins without any spends a dozen steps on finding it again. The history holds the objective of the
    rows in use.
    """

    needs: ClassVar[Any] = GrowingEvidence
    gives: ClassVar[type] = PointPosterior
    brief: ClassVar[bool] = True
    mode: Mode = Mode()
    before: Int[Array, ""] = eqx.field(converter=lambda n: jnp.asarray(n, jnp.int32), default=0)

    @property
    def default_steps(self) -> int:
        return self.mode.default_steps

    def init(self, key: PRNGKey, target: Any, start: Posterior) -> GrowingState:
        return GrowingState(self.mode.init(key, target, start), jnp.asarray(self.before, jnp.int32))

    def step(self, key: PRNGKey, state: GrowingState, target: Any, clock: Clock) -> tuple[GrowingState, Step]:
        few = state.left > 0
        mode, step = self.mode.step(key, state.mode, target.seen(few), clock)
        left = jnp.where(step.stop == StopCode.CONTINUE, jnp.maximum(state.left - 1, 0), 0)
        again = ModeState(over_lanes(lambda d: begin_again(d, target.times))(mode.descents), jnp.zeros_like(mode.ended))
        mode = jax.tree.map(lambda new, old: jnp.where(few & (left == 0), new, old), again, mode)
        go_on = jnp.asarray(StopCode.CONTINUE, step.stop.dtype)
        step = eqx.tree_at(lambda s: s.stop, step, jnp.where(few, go_on, step.stop))
        return GrowingState(mode, left), step

    def posterior(self, state: GrowingState, draws: Any, space: Space) -> PointPosterior:
        return self.mode.posterior(state.mode, draws, space)
