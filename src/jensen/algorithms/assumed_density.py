"""Sites visited one after the other: assumed density filtering and sequential expectation propagation."""

import abc
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.algorithms._sites import SitesState, distance
from jensen.algorithms.expectation_propagation import Propagation
from jensen.core import Clock, PRNGKey, Scalar, Sites, Step, StopCode, make_step, scalar_field


class Sequential(Propagation):
    """Visits sites in order and conditions after each: O(d^2) a site in white coordinates, d^2 memory."""

    @abc.abstractmethod
    def before(self, sites: Sites) -> Sites:
        """The sites with which a sweep starts."""

    def proposal(self, sites: Sites, marginals: Any, target: Any) -> Sites:
        """The sites after one sweep."""
        prior = target.prior
        zero = jnp.zeros(prior.dimension, sites.linear.dtype)
        centre, residual = prior.from_white(zero)
        weights = jax.jacfwd(lambda z: prior.from_white(z)[0])(zero)
        sites = self.before(sites)
        z_mean, z_cov = _white(sites, weights, centre)

        def visit(i: Array, carry: Any) -> Any:
            sites, z_mean, z_cov = carry
            a = weights[i]
            spread = z_cov @ a.T  # S A^T
            mean, cov = centre[i] + a @ z_mean, a @ spread
            mine = Sites(sites.linear[i][None], sites.precision[i][None])
            tilted = target.terms(i[None]).log_tilted
            new = self.update(mine, mean[None], cov[None], residual[i][None], tilted)
            more, steeper = new.linear[0] - mine.linear[0], new.precision[0] - mine.precision[0]
            plus = jnp.eye(cov.shape[0], dtype=cov.dtype) + cov @ steeper
            z_cov = z_cov - spread @ steeper @ jnp.linalg.solve(plus, spread.T)
            z_mean = z_mean + z_cov @ (a.T @ (more - steeper @ mean))
            linear, precision = sites.linear.at[i].set(new.linear[0]), sites.precision.at[i].set(new.precision[0])
            return Sites(linear, precision), z_mean, z_cov

        return jax.lax.fori_loop(0, centre.shape[0], visit, (sites, z_mean, z_cov))[0]


def _white(sites: Sites, weights: Float[Array, "n k d"], centre: Float[Array, "n k"]) -> tuple[Array, Array]:
    """Mean and covariance of z under N(0, I) times the sites."""
    n, k, d = weights.shape
    pulled = jnp.einsum("nij,njd->nid", sites.precision, weights).reshape(n * k, d)
    linear = sites.linear - jnp.einsum("nij,nj->ni", sites.precision, centre)
    flat = weights.reshape(n * k, d)
    cov = jnp.linalg.inv(jnp.eye(d, dtype=flat.dtype) + flat.T @ pulled)
    return cov @ (flat.T @ linear.reshape(-1)), cov


class SequentialEP(Sequential):
    """Expectation propagation that visits the sites in order, a sweep a step, without damping by default.

    As `EP`: t_i <- (moment match of q / t_i^power times p(y_i | f_i)^power) / cavity, to the power 1 / power, but the
    next site already sees the last one's; fewer sweeps, each O(n d^2) and not parallel over sites.

    Source: Minka (2001), Expectation propagation for approximate Bayesian inference.
    """

    power: Scalar = scalar_field(1.0)
    rate: Scalar = scalar_field(1.0)
    tolerance: Scalar = scalar_field(1e-6)

    def before(self, sites: Sites) -> Sites:
        return sites


class ADF(Sequential):
    """Assumed density filtering: one pass of moment matching, q <- the Gaussian with the moments of q p(y_i | f_i).

    The first sweep of expectation propagation from empty sites, so that a term is seen once and the order matters;
    exact for Gaussian likelihoods. With a state-space prior and sites in time order it is the assumed-density filter.

    Source: Opper (1998), A Bayesian approach to on-line learning; Minka (2001).
    """

    rate: Scalar = scalar_field(1.0)
    tolerance: Scalar = scalar_field(1e-6)
    power: Scalar = scalar_field(1.0)

    @property
    def default_steps(self) -> int:
        return 1

    def before(self, sites: Sites) -> Sites:
        return jax.tree.map(jnp.zeros_like, sites)

    def step(self, key: PRNGKey, state: SitesState, target: Any, clock: Clock) -> tuple[SitesState, Step]:
        sites = self.proposal(state.sites, state.marginals, target)
        marginals = target.prior.condition(sites)
        new = SitesState(state.prior, sites, marginals, state.objective, state.rate)
        evidence = self.log_evidence(sites, marginals, target)
        moved = distance(state.marginals, marginals)
        return new, make_step(residual=moved, stop=StopCode.CONVERGED, log_evidence=evidence)
