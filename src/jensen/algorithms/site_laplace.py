"""The Laplace approximation in the sites of a latent Gaussian model."""

from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.algorithms._sites import SiteRule, apply, slopes
from jensen.core import Marginals, Scalar, Sites, scalar_field


class SiteLaplace(SiteRule):
    """Newton's method for the mode of p(f | y), each step a conditioning of the prior on sites.

    (l_i, P_i) = (g_i - H_i m_i, -H_i) with g_i, H_i the gradient and Hessian of log p(y_i | f_i) at the mean m_i. At
    the fixed point m is the mode and q the Laplace approximation; log p(y) is approximated by log Z + sum_i [log p(y_i
    | m_i) - log t_i(m_i)]. Works with every prior that can be conditioned on sites, state-space models too.

    The objective is -log p(y | m) - log N(m) + const = -sum_i [log p(y_i | m_i) - (m_i - mu_i) . (l_i - P_i m_i) / 2],
    mu the prior mean: K^-1 (m - mu) = l - P m at any conditioned mean, so that no inverse of K is needed.

    Source: Williams and Barber (1998), Bayesian classification with Gaussian processes; Rasmussen and Williams
    (2006), 3.4.
    """

    refinements: ClassVar[int] = 2
    rate: Scalar = scalar_field(1.0)
    tolerance: Scalar = scalar_field(1e-6)

    def proposal(self, sites: Sites, marginals: Marginals, target: Any) -> Sites:
        slope, hessian = slopes(target.log_terms, marginals.mean)
        return Sites(slope - apply(hessian, marginals.mean), -hessian)

    def log_evidence(self, sites: Sites, marginals: Marginals, target: Any) -> Float[Array, ""]:
        at_mode = sites.expected_log(marginals.mean, jnp.zeros_like(marginals.cov))
        return marginals.log_normaliser + jnp.sum(target.log_terms(marginals.mean) - at_mode)

    def objective(self, sites: Sites, marginals: Marginals, target: Any) -> Float[Array, ""]:
        centre = target.prior.from_white(jnp.zeros(target.prior.dimension, marginals.mean.dtype))[0]
        pull = sites.linear - apply(sites.precision, marginals.mean)
        return 0.5 * jnp.sum((marginals.mean - centre) * pull) - jnp.sum(target.log_terms(marginals.mean))
