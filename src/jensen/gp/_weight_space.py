"""Gaussian process regression in weight space: r features in place of n x n covariances."""

import math
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import Scalar
from jensen.gp._linalg import solve_lower, solve_upper


class WeightSpace(eqx.Module):
    """The posterior of w ~ N(0, diag(s)) given y = Phi w + N(0, noise I): a Gaussian process of r features.

    With Psi = Phi diag(s)^(1/2) and A = Psi^T Psi + noise I (r x r), mean w = diag(s)^(1/2) A^-1 Psi^T y, and

    -log p(y) = [|y - Psi v|^2 / noise + |v|^2 + (n - r) log noise + log det A + n log 2 pi] / 2, v = A^-1 Psi^T y

    in nats. This is N(0, Phi diag(s) Phi^T + noise I) by the lemmas of Woodbury and Sylvester, at n r^2 in place of
    n^3; the squared residual in place of |y|^2 - y^T Psi v keeps its digits where the noise is small.

    Made by `weight_space`. `roots`: s^(1/2), `white`: v, `tril`: the factor of A.
    """

    roots: Float[Array, " r"]
    white: Float[Array, " r"]
    tril: Float[Array, "r r"]
    noise: Scalar
    negative_log_evidence: Float[Array, ""]

    @property
    def weights(self) -> Float[Array, " r"]:
        """Posterior mean of w."""
        return self.roots * self.white

    def mean(self, features: Float[Array, "k r"]) -> Float[Array, " k"]:
        """Posterior mean of f at the features of k points."""
        return features @ self.weights

    def variance(self, features: Float[Array, "k r"]) -> Float[Array, " k"]:
        """Posterior variance of f (without noise) at the features of k points."""
        return self.noise * jnp.sum(solve_lower(self.tril, (features * self.roots).T) ** 2, axis=0)


def weight_space(
    features: Float[Array, "n r"], y: Float[Array, " n"], variances: Float[Array, " r"], noise: Any
) -> WeightSpace:
    """Regress y on features with prior variances s > 0 of the weights and noise variance > 0: n r^2 + r^3."""
    n, r = features.shape
    roots = jnp.sqrt(variances)
    psi = features * roots
    tril = jnp.linalg.cholesky(psi.T @ psi + noise * jnp.eye(r, dtype=psi.dtype))
    white = solve_upper(tril, solve_lower(tril, psi.T @ y))
    fit = jnp.sum((y - psi @ white) ** 2) / noise + jnp.sum(white**2)
    log_det = 2 * jnp.sum(jnp.log(jnp.diagonal(tril))) + (n - r) * jnp.log(noise)
    value = 0.5 * (fit + log_det + n * math.log(2 * math.pi))
    return WeightSpace(roots, white, tril, jnp.asarray(noise, psi.dtype), value)
