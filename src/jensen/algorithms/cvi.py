"""Conjugate-computation variational inference: natural-gradient VI in the sites of a latent Gaussian model."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.algorithms._sites import SiteRule, apply
from jensen.core import Marginals, Scalar, Sites, scalar_field


class CVI(SiteRule):
    """Natural-gradient VI: (l_i, P_i) <- (1 - rate)(l_i, P_i) + rate (g_i - H_i m_i, -H_i), the gradient of the ELBO.

    g_i = d/dm_i E_q[log p(y_i | f_i)] and H_i = 2 d/dS_i of the same, at the marginals N(m_i, S_i) of q. The fixed
    point is the best Gaussian q(f); with an inducing-point prior it is the optimal q(u) and the sites are the dual
    parameters of the sparse variational GP (t-SVGP). Exact after one step of rate 1 for a Gaussian likelihood.

    ELBO = log Z + sum_i E_q[log p(y_i | f_i) - log t_i], with Z the normaliser of prior times sites: a lower bound on
    log p(y) for priors that are exact or inducing-point ones.

    Source: Khan and Lin (2017), Conjugate-computation variational inference; Adam et al. (2021), Dual parameterization
    of sparse variational Gaussian processes.
    """

    rate: Scalar = scalar_field(1.0)
    tolerance: Scalar = scalar_field(1e-5)

    def proposal(self, sites: Sites, marginals: Marginals, target: Any) -> Sites:
        slope, curvature = jax.grad(lambda m, c: jnp.sum(target.expected(m, c)), (0, 1))(marginals.mean, marginals.cov)
        hessian = curvature + jnp.swapaxes(curvature, 1, 2)
        # the site acts on the projection, of the same mean; its covariance lacks the residual, which H sees too
        return Sites(slope - apply(hessian, marginals.mean), -hessian)

    def log_evidence(self, sites: Sites, marginals: Marginals, target: Any) -> Float[Array, ""]:
        inner = marginals.cov - marginals.residual
        terms = target.expected(marginals.mean, marginals.cov) - sites.expected_log(marginals.mean, inner)
        return marginals.log_normaliser + jnp.sum(terms)

    def objective(self, sites: Sites, marginals: Marginals, target: Any) -> Float[Array, ""]:
        return -self.log_evidence(sites, marginals, target)
