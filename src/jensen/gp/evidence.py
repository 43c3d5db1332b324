"""The evidence of Gaussian process regression in eigenform: once factorised, every scale and noise costs O(n)."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import Compiled, Scalar, require
from jensen.gp._linalg import LOG_2PI

RANGE = 18.0  # of log(ratio * mean eigenvalue), either side of 0: beyond it one of the two parts is below rounding
POINTS = 145
GOLDEN = (5**0.5 - 1) / 2


class SpectralEvidence(eqx.Module):
    """The evidence of y ~ N(0, scale K + noise I), in the basis of the eigenvectors of K = V diag(l) V^T.

    With z = V^T y and e_i = scale l_i + noise, -log p(y) = sum_i [z_i^2 / e_i + log e_i + log 2 pi] / 2 in nats. Over
    the common scale at a fixed ratio r = scale / noise the minimum is in closed form:
    noise*(r) = mean_i z_i^2 / (r l_i + 1), and -log p = n/2 (log noise* + 1 + log 2 pi) + sum_i log(r l_i + 1) / 2. So
    the fit of both is a search on a line, where local minima (the evidence is often bimodal in r) cannot hide.

    `eigenvalues`: l >= 0, `projections`: z, both (n,). After `spectral_evidence`, O(n^3), a value costs O(n).

    Source: Hodgkinson, van der Heide, Roosta and Mahoney (2023), Monotonicity and double descent in uncertainty
    estimation with Gaussian processes; the eigenform is classical (Patterson and Thompson 1971).
    """

    eigenvalues: Float[Array, " n"]
    projections: Float[Array, " n"]

    def negative_log(self, scale: Scalar | float, noise: Scalar | float) -> Float[Array, ""]:
        """-log p(y | scale, noise) in nats; `scale` and `noise` are variances."""
        spread = scale * self.eigenvalues + noise
        return 0.5 * jnp.sum(self.projections**2 / spread + jnp.log(spread) + LOG_2PI)

    def best_noise(self, ratio: Scalar | float) -> Float[Array, ""]:
        """The noise variance of the largest evidence at a fixed ratio = scale / noise."""
        return jnp.mean(self.projections**2 / (ratio * self.eigenvalues + 1))

    def profiled(self, ratio: Scalar | float) -> Float[Array, ""]:
        """min over the common scale of -log p(y), at a fixed ratio = scale / noise, in nats."""
        n = len(self.projections)
        spread = jnp.sum(jnp.log(ratio * self.eigenvalues + 1))
        return 0.5 * (n * (jnp.log(self.best_noise(ratio)) + 1 + LOG_2PI) + spread)

    def best(self) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """(scale, noise) of the largest evidence: the best of 145 ratios, then a golden-section search around it.

        Ratios r with |log(r mean l)| <= 18 are tried: a best value at an end means no noise, or nothing but noise.
        """
        return _best(self)


@Compiled
def _best(evidence: SpectralEvidence) -> tuple[Array, Array]:
    middle = -jnp.log(jnp.mean(evidence.eigenvalues))
    logs = middle + jnp.linspace(-RANGE, RANGE, POINTS)

    def value(t: Array) -> Array:
        return evidence.profiled(jnp.exp(t))

    best = jnp.nanargmin(jax.vmap(value)(logs))
    low, high = logs[jnp.maximum(best - 1, 0)], logs[jnp.minimum(best + 1, POINTS - 1)]

    def narrow(_: Any, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        lower = value(left) < value(right)
        return jnp.where(lower, low, left), jnp.where(lower, right, high)

    low, high = jax.lax.fori_loop(0, 45, narrow, (low, high))
    ratio = jnp.exp(0.5 * (low + high))
    noise = evidence.best_noise(ratio)
    return ratio * noise, noise


def spectral_evidence(covariance: Float[Array, "n n"], y: Float[Array, " n"]) -> SpectralEvidence:
    """The evidence of y ~ N(0, scale `covariance` + noise I): one eigendecomposition, n^3.

    Eigenvalues that rounding has made negative are set to 0.
    """
    eigenvalues, vectors = jnp.linalg.eigh(covariance)
    return SpectralEvidence(jnp.maximum(eigenvalues, 0.0), vectors.T @ y)


def leave_one_out(
    covariance: Float[Array, "n n"], y: Float[Array, " n"]
) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    """Mean and variance of p(y_i | y_-i) for y ~ N(0, covariance), all i from one factorisation.

    With C the covariance (noise included): mean_i = y_i - [C^-1 y]_i / [C^-1]_ii, variance_i = 1 / [C^-1]_ii.

    Source: Sundararajan and Keerthi (2001), Predictive approaches for choosing hyperparameters in Gaussian processes.
    """
    inverse = jnp.linalg.inv(jnp.linalg.cholesky(covariance))
    precision = inverse.T @ inverse
    diagonal = jnp.diagonal(precision)
    return y - precision @ y / diagonal, 1 / diagonal


def predictive_loss(
    mean: Float[Array, " n"], variance: Float[Array, " n"], y: Float[Array, " n"], temperature: float = 1.0
) -> Float[Array, ""]:
    """E |f - y|^2 / n for f ~ N(mean, temperature * variance): squared error of the mean plus the tempered variance.

    The posterior predictive loss of second order. Unlike the evidence it may rise with the number of inputs and peaks
    where they are as many as the rows (double descent). `temperature`: of the posterior, which for a Gaussian
    likelihood scales its covariance; 0 leaves the error of the mean. Raises `InputError` for a negative temperature.

    Source: Hodgkinson, van der Heide, Roosta and Mahoney (2023).
    """
    require(temperature >= 0, f"The temperature must be 0 or more, got {temperature}")
    return jnp.mean((mean - y) ** 2 + temperature * variance)
