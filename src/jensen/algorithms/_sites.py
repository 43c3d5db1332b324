"""What the update rules for sites share: the state, the damped step, the posterior."""

import abc
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jensen.core import (
    Algorithm,
    Clock,
    DensityPosterior,
    GaussianPrior,
    LatentGaussian,
    Marginals,
    Posterior,
    PRNGKey,
    Scalar,
    Sites,
    Space,
    Step,
    StopCode,
    make_step,
    no_sites,
)
from jensen.families import SiteGaussian

LEAST_RATE = 1e-4


class SitesState(eqx.Module):
    """Prior, sites, what conditioning gives, the objective (to be made small; 0 where a rule has none), the rate."""

    prior: GaussianPrior
    sites: Sites
    marginals: Marginals
    objective: Float[Array, ""]
    rate: Float[Array, ""]


class SiteRule(Algorithm):
    """A rule that moves Gaussian sites towards a fixed point; q is prior times sites.

    A proposal is taken at the current rate where it is finite, has a positive definite posterior and does not make the
    objective worse; else the rate is halved. After a success the rate grows by half, up to the rule's own.
    """

    needs: ClassVar[Any] = LatentGaussian
    gives: ClassVar[type] = DensityPosterior
    brief: ClassVar[bool] = True
    descends: ClassVar[bool] = True  # whether there is an objective
    refinements: ClassVar[int] = 0  # proposals through which the evidence is differentiated, where not stationary
    rate: eqx.AbstractVar[Scalar]
    tolerance: eqx.AbstractVar[Scalar]

    @property
    def default_steps(self) -> int:
        return 500

    @abc.abstractmethod
    def proposal(self, sites: Sites, marginals: Marginals, target: Any) -> Sites:
        """The sites that the rule wants, undamped."""

    @abc.abstractmethod
    def log_evidence(self, sites: Sites, marginals: Marginals, target: Any) -> Float[Array, ""]:
        """The rule's approximation to log p(y), in nats."""

    @abc.abstractmethod
    def objective(self, sites: Sites, marginals: Marginals, target: Any) -> Float[Array, ""]:
        """What the rule makes small; 0 where it has nothing of the kind."""

    def begin(self, target: Any, sites: Sites) -> SitesState:
        """The state at these sites."""
        marginals = target.prior.condition(sites)
        objective = self.objective(sites, marginals, target)
        return SitesState(target.prior, sites, marginals, objective, jnp.asarray(self.rate))

    def init(self, key: PRNGKey, target: Any, start: Posterior) -> SitesState:
        if isinstance(start, DensityPosterior) and isinstance(start.q, SiteGaussian):
            return self.begin(target, start.q.sites)
        return self.begin(target, no_sites(target.prior.num_sites, target.prior.num_values))

    def step(self, key: PRNGKey, state: SitesState, target: Any, clock: Clock) -> tuple[SitesState, Step]:
        wanted = self.proposal(state.sites, state.marginals, target)
        sites = state.sites.moved(wanted, state.rate)
        marginals = target.prior.condition(sites)
        objective = self.objective(sites, marginals, target)
        # rounding of a sum over the sites is no rise
        slack = 1e3 * jnp.finfo(objective.dtype).eps * (1 + jnp.abs(state.objective))
        good = usable(sites, marginals) & ~(objective > state.objective + slack)
        good = good & jnp.isfinite(objective)
        change = jnp.where(good, distance(state.marginals, marginals) / state.rate, jnp.inf)
        rate = jnp.where(good, jnp.minimum(1.5 * state.rate, self.rate), 0.5 * state.rate)
        kept = SitesState(state.prior, state.sites, state.marginals, state.objective, rate)
        taken = SitesState(state.prior, sites, marginals, objective, rate)
        new = jax.tree.map(lambda a, b: jnp.where(good, a, b), taken, kept)
        floor = 30 * jnp.sqrt(jnp.finfo(change.dtype).eps)
        done = change < jnp.maximum(self.tolerance, floor if change.dtype == jnp.float32 else 0.0)
        stop = jnp.where(done, StopCode.CONVERGED, StopCode.CONTINUE)
        stop = jnp.where(rate < LEAST_RATE * self.rate, StopCode.STUCK, stop)
        evidence = self.log_evidence(new.sites, new.marginals, target)
        shown = new.objective if self.descends else jnp.nan
        return new, make_step(shown, jnp.minimum(change, 1e30), stop, log_evidence=evidence, rate=rate)

    def posterior(self, state: SitesState, draws: Any, space: Space) -> DensityPosterior:
        return DensityPosterior(space, SiteGaussian(state.prior, state.sites))


def usable(sites: Sites, marginals: Marginals) -> Bool[Array, ""]:
    """Whether everything is finite and every marginal variance positive."""
    leaves = jax.tree.leaves((sites, marginals))
    finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in leaves]))
    return finite & jnp.all(jnp.diagonal(marginals.cov, axis1=1, axis2=2) > 0)


def distance(old: Marginals, new: Marginals) -> Float[Array, ""]:
    """The largest change of a marginal mean in standard deviations, or of half a log variance."""
    a, b = (jnp.diagonal(m.cov, axis1=1, axis2=2) for m in (old, new))
    means = jnp.max(jnp.abs(new.mean - old.mean) / jnp.sqrt(b))
    return jnp.maximum(means, 0.5 * jnp.max(jnp.abs(jnp.log(b) - jnp.log(a))))


def slopes(value: Any, mean: Float[Array, "n k"]) -> tuple[Float[Array, "n k"], Float[Array, "n k k"]]:
    """Gradient and Hessian in mean_i of each of n values, `value(mean) -> (n,)` with row i of mean in value i alone."""

    def gradient(m: Array) -> Array:
        return jax.grad(lambda m: jnp.sum(value(m)))(m)

    def along(j: Array) -> Array:
        return jax.jvp(gradient, (mean,), (jnp.broadcast_to(j, mean.shape),))[1]

    columns = jax.vmap(along)(jnp.eye(mean.shape[1], dtype=mean.dtype))
    hessian = jnp.moveaxis(columns, 0, -1)
    return gradient(mean), 0.5 * (hessian + jnp.swapaxes(hessian, 1, 2))


def apply(matrices: Float[Array, "n k k"], vectors: Float[Array, "n k"]) -> Float[Array, "n k"]:
    """A_i v_i."""
    return jnp.einsum("nij,nj->ni", matrices, vectors)
