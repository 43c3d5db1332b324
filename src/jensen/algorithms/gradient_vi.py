"""Stochastic-gradient variational inference with any reparameterised family."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

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

PATIENCE = 10  # steps in a row with a gradient that is not finite before the step gives up
MEMORY = 0.9  # of the running norm of gradients that clipping is measured against


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
        trainable, _ = q.partition()
        return GradientState(
            q, _adam().init(trainable), jnp.zeros((), jnp.result_type(float)), jnp.zeros((), jnp.int32)
        )

    def step(self, key: PRNGKey, state: GradientState, target: Any, clock: Clock) -> tuple[GradientState, Step]:
        trainable, rest = state.q.partition()

        def surrogate(trainable: Any) -> tuple[Float[Array, ""], Any]:
            estimate = self.aim(state.q).loss(key, eqx.combine(trainable, rest), target)
            return estimate.surrogate, estimate

        gradient, estimate = jax.grad(surrogate, has_aux=True)(trainable)
        length = jnp.sqrt(sum(jnp.sum(jnp.square(g)) for g in jax.tree.leaves(gradient)))
        usable = jnp.isfinite(length) & jnp.isfinite(estimate.value)
        known = jnp.where(state.norm > 0, state.norm, length)
        shrink = jnp.where(usable, jnp.minimum(1.0, self.clip * known / jnp.maximum(length, 1e-30)), 0.0)
        gradient = jax.tree.map(lambda g: jnp.where(usable, shrink * g, 0.0), gradient)
        direction, adam = _adam().update(gradient, state.adam)
        rate = jnp.where(usable, -self.rate(clock), 0.0)
        moved = jax.tree.map(lambda p, u: p + (rate * u).astype(p.dtype), trainable, direction)
        skipped = jnp.where(usable, 0, state.skipped + 1)
        moved = jax.tree.map(lambda p: jnp.where(skipped >= PATIENCE, jnp.nan, p), moved)
        adam = jax.tree.map(lambda new, old: jnp.where(usable, new, old), adam, state.adam)
        norm = jnp.where(usable, MEMORY * known + (1 - MEMORY) * shrink * length, state.norm)
        scalars = {"gradient_norm": length, "standard_error": estimate.standard_error}
        return GradientState(eqx.combine(moved, rest), adam, norm, skipped), make_step(estimate.value, **scalars)

    def rate(self, clock: Clock) -> Scalar:
        """r_t: warm-up, constant, half a cosine."""
        rise = jnp.minimum(1.0, (clock.t + 1) / jnp.maximum(self.warmup, 1.0))
        past = jnp.clip((clock.fraction - (1 - self.cooling)) / jnp.maximum(self.cooling, 1e-6), 0.0, 1.0)
        return self.learning_rate * rise * 0.5 * (1 + jnp.cos(jnp.pi * past))

    def posterior(self, state: GradientState, draws: Any, space: Space) -> DensityPosterior:
        return DensityPosterior(space, state.q)

    def cautious(self) -> "GradientVI":
        return eqx.tree_at(lambda a: a.learning_rate, self, 0.5 * self.learning_rate)


def _adam() -> Any:
    # built anew where it is used: a transformation in a field holds fresh closures and would be traced again each run
    import optax

    return optax.scale_by_adam()


def starting_gaussian(start: Posterior, scale: Scalar) -> Gaussian:
    """The Gaussian of a posterior: its own q, else its moments; about a point N(z, scale^2 I)."""
    if isinstance(start, DensityPosterior) and isinstance(start.q, Gaussian):
        return start.q
    mean, cov = start.mean_and_cov()
    spread = jnp.where(jnp.all(cov == 0), scale**2, 0.0)
    jitter = jnp.finfo(mean.dtype).eps * jnp.trace(cov) + spread
    return Gaussian(mean, jnp.linalg.cholesky(0.5 * (cov + cov.T) + jitter * jnp.eye(mean.shape[0], dtype=mean.dtype)))
