"""The climb to the mode of a sparse model's evidence, on some of the rows first."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jensen._numerics.lanes import over_lanes
from jensen._numerics.lbfgs import begin_again
from jensen.algorithms import Mode
from jensen.algorithms.mode import ModeState
from jensen.core import Algorithm, Clock, PointPosterior, Posterior, PRNGKey, Space, Step, StopCode, Target
from jensen.gp.evidence_target import EvidenceTarget


class GrowingEvidence(Target):
    """The evidence of a `Collapsed` model that can also be estimated from its first `few` blocks of rows."""

    space: Space
    whole: EvidenceTarget
    few: Int[Array, ""]

    def __init__(self, whole: EvidenceTarget, few: int):
        self.space, self.whole, self.few = whole.space, whole, jnp.asarray(few, jnp.int32)

    @property
    def optimisation(self) -> int | None:
        """XLA's level of optimisation, as for the whole."""
        return self.whole.optimisation

    def log_density(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        return self.whole.log_density(z)

    def seen(self, few: Bool[Array, ""]) -> EvidenceTarget:
        """The target from few blocks, or from as many as the model has."""
        blocks = jnp.where(few, self.few, self.whole.args[0].blocks)
        return eqx.tree_at(lambda t: t.args[0].blocks, self.whole, blocks)


class GrowingState(eqx.Module):
    """The descent, and for how many steps yet it sees some of the rows alone (0: it sees all)."""

    mode: ModeState
    left: Int[Array, ""]


class GrowingMode(Algorithm):
    """The climb `mode` for `before` steps on some of the rows, fewer where it converges on them, then on all.

    The pairs of L-BFGS are kept: the curvature of an estimate is nearly that of the whole, and a descent that begins
    without any spends a dozen steps on finding it again. The history holds the objective of the rows in use.
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
        again = ModeState(over_lanes(begin_again)(mode.descents), jnp.zeros_like(mode.ended))
        mode = jax.tree.map(lambda new, old: jnp.where(few & (left == 0), new, old), again, mode)
        go_on = jnp.asarray(StopCode.CONTINUE, step.stop.dtype)
        step = eqx.tree_at(lambda s: s.stop, step, jnp.where(few, go_on, step.stop))
        return GrowingState(mode, left), step

    def posterior(self, state: GrowingState, draws: Any, space: Space) -> PointPosterior:
        return self.mode.posterior(state.mode, draws, space)
