"""Gaussians with a diagonal plus rank-one precision: correlated latents at the cost of independent ones."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import PRNGKey
from jensen.families.bijective import Bijective, log_standard_normal
from jensen.vae.heads import SizedHead


class RankOnePrecision(Bijective):
    """q = N(m, C) with C^-1 = D + u u^T, D = diag(d) > 0: 3 k parameters, O(k) a draw and a density.

    With s = u^T D^-1 u and eta = 1 / (1 + s): C = D^-1 - eta D^-1 u u^T D^-1, log det C = log eta - log det D, and
    C = R R^T for R = D^-1/2 (I - c a a^T), a = D^-1/2 u, c = eta / (1 + sqrt eta), which has no trouble at u = 0.
    `mean`: m. `log_precision`: log d. `factor`: u.

    Source: Rezende, Mohamed and Wierstra (2014), Stochastic backpropagation, section 4.3.
    """

    mean: Float[Array, " k"]
    log_precision: Float[Array, " k"]
    factor: Float[Array, " k"]

    @property
    def dimension(self) -> int:
        return self.mean.shape[0]

    def noise(self, key: PRNGKey) -> Float[Array, " k"]:
        return jax.random.normal(key, self.mean.shape, self.mean.dtype)

    def _parts(self) -> tuple[Float[Array, " k"], Float[Array, " k"], Float[Array, ""], Float[Array, ""]]:
        """D^-1/2, a, eta, and log det R."""
        root = jnp.exp(-0.5 * self.log_precision)
        a = root * self.factor
        s = jnp.sum(a**2)
        return root, a, 1 / (1 + s), -0.5 * (jnp.sum(self.log_precision) + jnp.log1p(s))

    def transform(self, u: Float[Array, " k"]) -> tuple[Float[Array, " k"], Float[Array, ""]]:
        root, a, eta, log_det = self._parts()
        return self.mean + root * (u - eta / (1 + jnp.sqrt(eta)) * a * (a @ u)), log_det

    def inverse(self, z: Float[Array, " k"]) -> Float[Array, " k"]:
        root, a, eta, _ = self._parts()
        y = (z - self.mean) / root
        return y + jnp.sqrt(eta) / (1 + jnp.sqrt(eta)) * a * (a @ y)

    def log_prob(self, z: Float[Array, " k"]) -> Float[Array, ""]:
        return log_standard_normal(self.inverse(z)) - self._parts()[3]

    @property
    def variances(self) -> Float[Array, " k"]:
        """The diagonal of C."""
        root, a, eta, _ = self._parts()
        return root**2 * (1 - eta * a**2)

    def entropy(self) -> Float[Array, ""]:
        """H(q) = k/2 (1 + log 2 pi) + 1/2 log det C, in nats."""
        return 0.5 * self.dimension * (1 + math.log(2 * math.pi)) + self._parts()[3]

    def mean_and_cov(self) -> tuple[Float[Array, " k"], Float[Array, "k k"]]:
        """m and C; forms the k x k matrix, unlike all else here."""
        root, a, eta, _ = self._parts()
        return self.mean, jnp.diag(root**2) - eta * jnp.outer(root * a, root * a)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "RankOnePrecision":
        k = int(config["dimension"])
        return cls(jnp.zeros(k), jnp.zeros(k), jnp.zeros(k))


class RankOne(SizedHead):
    """q(z | x) = `RankOnePrecision`, (m, log d, u) = context, of 3 k numbers."""

    @property
    def context(self) -> int:
        return 3 * self.size

    def density(self, context: Float[Array, " c"]) -> RankOnePrecision:
        return RankOnePrecision(*jnp.split(context, 3))
