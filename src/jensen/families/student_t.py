"""Independent Student-t coordinates of learned degrees of freedom."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln
from jaxtyping import Array, Float, Key

from jensen.core import InputError, PRNGKey, Reparameterised, Scalar, scalar_field
from jensen.families._builders import Builder
from jensen.families.gaussian import Gaussian


class StudentT(Reparameterised):
    """z_i = m_i + s_i n_i sqrt(nu_i / (2 g_i)), n_i ~ N(0, 1), g_i ~ Gamma(nu_i / 2, 1): tails as heavy as |z|^-nu.

    log q(z) = sum_i log t_{nu_i}((z_i - m_i) / s_i) - log s_i. The gradient in nu goes through the Gamma draw by
    implicit reparameterisation. A Lipschitz map of Gaussian noise has Gaussian tails whatever it learns; as the base
    of a `Pushforward` this one does not.

    `mean`, `log_scale`, `log_df`: m, log s and log nu, shape (d,).

    Source: implicit gradients: Figurnov, Mohamed and Mnih (2018); t bases: Jaini et al. (2020).
    """

    mean: Float[Array, " d"]
    log_scale: Float[Array, " d"]
    log_df: Float[Array, " d"]

    @property
    def dimension(self) -> int:
        return self.mean.shape[0]

    def noise(self, key: PRNGKey) -> tuple[Float[Array, " d"], Key[Array, ""]]:
        """Standard normal numbers, and the key of the Gamma draws, whose noise has no fixed length."""
        key_normal, key_gamma = jax.random.split(key)
        return jax.random.normal(key_normal, self.mean.shape, self.mean.dtype), key_gamma

    def from_noise(self, eps: tuple[Float[Array, " d"], Key[Array, ""]]) -> Float[Array, " d"]:
        normal, key = eps
        half = 0.5 * jnp.exp(self.log_df)
        log_gamma = jax.random.loggamma(key, half)
        return self.mean + normal * jnp.exp(self.log_scale + 0.5 * (jnp.log(half) - log_gamma))

    def log_prob(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        df = jnp.exp(self.log_df)
        x = (z - self.mean) * jnp.exp(-self.log_scale)
        norm = gammaln(0.5 * (df + 1)) - gammaln(0.5 * df) - 0.5 * (self.log_df + math.log(math.pi)) - self.log_scale
        return jnp.sum(norm - 0.5 * (df + 1) * jnp.log1p(x**2 / df))

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "StudentT":
        d = int(config["dimension"])
        return cls(jnp.zeros(d), jnp.zeros(d), jnp.zeros(d))


class HeavyTailed(Builder):
    """`StudentT` with the means and marginal variances of the Gaussian: s_i^2 = S_ii (nu - 2) / nu.

    `degrees_of_freedom`: nu at the start, above 2. Raises `InputError` otherwise.
    """

    degrees_of_freedom: Scalar = scalar_field(10.0)

    def __check_init__(self):
        if not self.degrees_of_freedom > 2:
            raise InputError(f"degrees_of_freedom must exceed 2 at the start, got {self.degrees_of_freedom}")

    def build(self, key: PRNGKey, gaussian: Gaussian) -> StudentT:
        variance = jnp.sum(jnp.tril(gaussian.scale_tril) ** 2, axis=1)
        nu = jnp.full_like(variance, self.degrees_of_freedom)
        return StudentT(gaussian.mean, 0.5 * jnp.log(variance * (nu - 2) / nu), jnp.log(nu))
