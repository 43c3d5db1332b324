"""The multivariate normal family with a diagonal plus low-rank covariance."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

from jensen.core import InputError, PRNGKey, Reparameterised
from jensen.families.bijective import log_standard_normal
from jensen.families.gaussian import Gaussian


class LowRankGaussian(Reparameterised):
    """N(m, diag(s^2) + U U^T): d (2 + r) parameters, O(d r + r^3) a draw and a density; no d x d matrix is formed.

    With C = I + U^T diag(s^-2) U (r x r): log det S = 2 sum log s + log det C, and (z-m)^T S^-1 (z-m) by Woodbury's
    identity. `mean`, `log_scale`: m and log s, shape (d,). `factor`: U, shape (d, r).

    Source: Ong, Nott and Smith (2018).
    """

    mean: Float[Array, " d"]
    log_scale: Float[Array, " d"]
    factor: Float[Array, "d r"]

    @property
    def dimension(self) -> int:
        return self.mean.shape[0]

    def noise(self, key: PRNGKey) -> Float[Array, " n"]:
        """d + r standard normal numbers: of the diagonal part, then of the factors."""
        return jax.random.normal(key, (sum(self.factor.shape),), self.mean.dtype)

    def from_noise(self, eps: Float[Array, " n"]) -> Float[Array, " d"]:
        d = self.dimension
        return self.mean + jnp.exp(self.log_scale) * eps[:d] + self.factor @ eps[d:]

    def log_prob(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        scaled, root = self._capacitance()
        x = (z - self.mean) * jnp.exp(-self.log_scale)
        inner = solve_triangular(root, scaled.T @ x, lower=True)
        return log_standard_normal(x) + 0.5 * jnp.sum(inner**2) - self._log_det(root)

    def entropy(self) -> Float[Array, ""]:
        """H(q) = d/2 (1 + log 2 pi) + 1/2 log det S, in nats."""
        _, root = self._capacitance()
        return 0.5 * self.dimension - log_standard_normal(jnp.zeros_like(self.mean)) + self._log_det(root)

    def mean_and_cov(self) -> tuple[Float[Array, " d"], Float[Array, "d d"]]:
        """m and S; forms the d x d matrix, unlike all else here."""
        return self.mean, jnp.diag(jnp.exp(2 * self.log_scale)) + self.factor @ self.factor.T

    def _capacitance(self) -> tuple[Float[Array, "d r"], Float[Array, "r r"]]:
        """diag(1/s) U and the Cholesky root of C."""
        scaled = self.factor * jnp.exp(-self.log_scale)[:, None]
        return scaled, jnp.linalg.cholesky(jnp.eye(self.factor.shape[1], dtype=scaled.dtype) + scaled.T @ scaled)

    def _log_det(self, root: Float[Array, "r r"]) -> Float[Array, ""]:
        return jnp.sum(self.log_scale) + jnp.sum(jnp.log(jnp.diagonal(root)))

    def config(self) -> dict[str, Any]:
        return {"dimension": self.dimension, "rank": self.factor.shape[1]}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "LowRankGaussian":
        d, r = int(config["dimension"]), int(config["rank"])
        return cls(jnp.zeros(d), jnp.zeros(d), jnp.zeros((d, r)))


SEED = 1e-2  # factors in units of the marginal spread where the Gaussian has no correlation to give: zero is a saddle


def low_rank_from_gaussian(key: PRNGKey, gaussian: Gaussian, rank: int) -> LowRankGaussian:
    """The Gaussian's correlation matrix by its `rank` leading eigenvectors, the marginal variances kept exactly.

    R ~ D + V (Lambda - c) V^T with c the mean of the other eigenvalues (Tipping and Bishop, 1999). O(d^3), once.
    Raises `InputError` unless 1 <= rank <= d.
    """
    d = gaussian.dimension
    if not 1 <= rank <= d:
        raise InputError(f"rank must lie between 1 and the dimension {d}, got {rank}")
    sd = jnp.sqrt(jnp.sum(jnp.tril(gaussian.scale_tril) ** 2, axis=1))
    rows = jnp.tril(gaussian.scale_tril) / sd[:, None]
    values, vectors = jnp.linalg.eigh(rows @ rows.T)
    rest = jnp.sum(values[: d - rank]) / max(d - rank, 1)
    factor = vectors[:, d - rank :] * jnp.sqrt(jnp.maximum(values[d - rank :] - rest, 0.0))
    factor = factor + SEED * jax.random.normal(key, factor.shape, factor.dtype)
    variance = jnp.maximum(1.0 - jnp.sum(factor**2, axis=1), SEED**2)
    return LowRankGaussian(gaussian.mean, jnp.log(sd) + 0.5 * jnp.log(variance), sd[:, None] * factor)
