"""Stochastic-gradient variational inference with any reparameterised family."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jensen.algorithms._descent import begin, descend, scheduled
from jensen.core import (
    Algorithm,
    Clock,
    Density,
    DensityPosterior,
    InputError,
    LogDensity,
    Objective,
    Posterior,
    PRNGKey,
    Scalar,
    Space,
    Step,
    make_step,
    scalar_field,
)
from jensen.families import Augmented, Builder, FullRank, Gaussian, GaussianMixture, ProgramFamily
from jensen.gradient_estimators import PerSite, Reparameterisation, StratifiedStickingTheLanding
from jensen.objectives import NegativeElbo


class GradientState(eqx.Module):
    """The family, Adam's moments, the running norm of its gradients and the number of steps skipped in a row."""

    q: Density
    adam: Any
    norm: Float[Array, ""]
    skipped: Int[Array, ""]


class GradientVI(Algorithm):
    """theta <- theta - r_t Adam(grad_theta objective(q_theta)), for any trainable family q_theta and any objective.

    The rate r_t rises linearly over the first `warmup` steps, stays at `learning_rate`, and falls to zero as half a
    cosine over the last `cooling` part of the run, so that the last iterate is as good as an average. A gradient
    longer than `clip` times the running norm is cut to that length; a step whose gradient or objective is not finite is
    skipped, and ten in a row are an error code. Steps are in units of z: where spreads differ by orders of magnitude,
    fit on `targets.Transformed(target, gaussian)`.

    Args:
        family: a builder (`families.FullRank()`, `MeanField()`, `LowRank(rank)`, `FlowBuilder()`), begun at the
            starting
            posterior's Gaussian, or about a starting point with spread `scale`; or a family itself, trained from where
            it is. `families.program(guide)` also takes discrete unknowns.
        objective: what is made small. Where None, `NegativeElbo` by 16 draws: with the sticking-the-landing estimator,
            for a mixture over its components, for an augmented family `Reparameterisation`, for a program `PerSite`.
        learning_rate: Adam's step, about the change of a parameter a step; flows want 1e-3 to 5e-3.

    Takes minibatches. Cost: the gradients of the objective's draws a step; thousands of steps. Where p is nearly
    Gaussian `BatchMatch` is two orders faster; it is for flows, for large d with `LowRank`, and for minibatches.

    Raises `InputError` if the starting posterior has another dimension than a family given as such.

    Source: Kucukelbir et al. (2017); Adam: Kingma and Ba (2015); clipping by past norms: Seetharaman et al. (2020).
    """

    needs: ClassVar[Any] = LogDensity
    gives: ClassVar[type] = DensityPosterior
    exact: ClassVar[bool] = False
    family: Builder | Density = FullRank()
    objective: Objective | None = None
    learning_rate: Scalar = scalar_field(0.02)
    warmup: Scalar = scalar_field(20.0)
    cooling: Scalar = scalar_field(0.3)
    clip: Scalar = scalar_field(10.0)
    scale: Scalar = scalar_field(0.1)

    @property
    def discrete(self) -> bool:
        return self.family.discrete if isinstance(self.family, Builder) else isinstance(self.family, ProgramFamily)

    def check(self, target: Any) -> None:
        if isinstance(self.family, Builder):
            self.family.check(target)

    def aim(self, q: Any) -> Objective:
        """The objective, or the one that suits the family q."""
        if self.objective is not None:
            return self.objective
        if isinstance(q, ProgramFamily):
            return NegativeElbo(PerSite())
        if isinstance(q, Augmented):
            return NegativeElbo(Reparameterisation())
        return NegativeElbo(StratifiedStickingTheLanding()) if isinstance(q, GaussianMixture) else NegativeElbo()

    @property
    def default_steps(self) -> int:
        return 5000

    @property
    def cooldown(self) -> float:
        return float(self.cooling)

    def init(self, key: PRNGKey, target: Any, start: Posterior) -> GradientState:
        d = target.space.dimension
        if isinstance(self.family, Builder):
            q = self.family.build_for(key, target, starting_gaussian(start, self.scale))
        else:
            q = self.family
        if q.dimension != d:
            raise InputError(
                f"The family has dimension {q.dimension}, the target {d}: give a builder, or build it for {d}"
            )
        return GradientState(q, *begin(q.partition()[0]))

    def step(self, key: PRNGKey, state: GradientState, target: Any, clock: Clock) -> tuple[GradientState, Step]:
        trainable, rest = state.q.partition()

        def surrogate(trainable: Any) -> tuple[Float[Array, ""], Any]:
            estimate = self.aim(state.q).at(clock).loss(key, eqx.combine(trainable, rest), target)
            return estimate.surrogate, estimate

        gradient, estimate = jax.grad(surrogate, has_aux=True)(trainable)
        moments = state.adam, state.norm, state.skipped
        moved, moments, length = descend(trainable, gradient, estimate.value, moments, self.rate(clock), self.clip)
        scalars = {"gradient_norm": length, "standard_error": estimate.standard_error}
        return GradientState(eqx.combine(moved, rest), *moments), make_step(estimate.value, **scalars)

    def rate(self, clock: Clock) -> Scalar:
        """r_t: warm-up, constant, half a cosine."""
        return scheduled(clock, self.learning_rate, self.warmup, self.cooling)

    def posterior(self, state: GradientState, draws: Any, space: Space) -> DensityPosterior:
        return DensityPosterior(space, state.q)

    def cautious(self) -> "GradientVI":
        return eqx.tree_at(lambda a: a.learning_rate, self, 0.5 * self.learning_rate)


def starting_gaussian(start: Posterior, scale: Scalar) -> Gaussian:
    """The Gaussian of a posterior: its own q, else its moments; about a point N(z, scale^2 I)."""
    if isinstance(start, DensityPosterior) and isinstance(start.q, Gaussian):
        return start.q
    mean, cov = start.mean_and_cov()
    spread = jnp.where(jnp.all(cov == 0), scale**2, 0.0)
    jitter = jnp.finfo(mean.dtype).eps * jnp.trace(cov) + spread
    return Gaussian(mean, jnp.linalg.cholesky(0.5 * (cov + cov.T) + jitter * jnp.eye(mean.shape[0], dtype=mean.dtype)))
