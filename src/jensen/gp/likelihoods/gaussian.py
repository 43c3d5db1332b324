"""Real observations: Gaussian, with a noise that is constant or a latent function itself, and Student-t."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln
from jaxtyping import Array, Float

from jensen.core import PRNGKey, Scalar, scalar_field
from jensen.gp._linalg import LOG_2PI
from jensen.gp.likelihoods._base import Likelihood, refuse


def finite(y: np.ndarray, likelihood: str) -> np.ndarray:
    """`y` as floats, all finite."""
    y = np.asarray(y, float)
    refuse(y, ~np.isfinite(y), likelihood, "finite numbers")
    return y


class Gaussian(Likelihood):
    """y | f ~ N(f, noise), `noise` a variance. Every expectation is in closed form."""

    noise: Scalar = scalar_field(1.0)

    def check(self, y: np.ndarray) -> np.ndarray:
        return finite(y, "Gaussian")

    def log_prob(self, y: Any, f: Float[Array, " k"]) -> Float[Array, ""]:
        return -0.5 * ((y - f[0]) ** 2 / self.noise + jnp.log(self.noise) + LOG_2PI)

    def sample(self, key: PRNGKey, f: Float[Array, " k"]) -> Array:
        return f[0] + jnp.sqrt(self.noise) * jax.random.normal(key, (), f.dtype)

    def moments(self, f: Float[Array, " k"]) -> tuple[Array, Array]:
        return f[0], self.noise

    def expected(self, y: Any, mean: Float[Array, " k"], cov: Float[Array, "k k"]) -> Float[Array, ""]:
        return self.log_prob(y, mean) - 0.5 * cov[0, 0] / self.noise

    def log_tilted(self, y: Any, mean: Float[Array, " k"], cov: Float[Array, "k k"], power: Scalar) -> Float[Array, ""]:
        """N(y; f, s)^a = N(y; f, s / a) (2 pi s)^((1 - a) / 2) a^(-1 / 2)."""
        spread = self.noise / power + cov[0, 0]
        scale = 0.5 * ((1 - power) * (jnp.log(self.noise) + LOG_2PI) - jnp.log(power))
        return scale - 0.5 * ((y - mean[0]) ** 2 / spread + jnp.log(spread) + LOG_2PI)

    def predict(self, mean: Float[Array, " k"], cov: Float[Array, "k k"]) -> tuple[Array, Array]:
        return mean[0], cov[0, 0] + self.noise


class Heteroscedastic(Likelihood):
    """y | f, g ~ N(f, exp(g)): the log variance of the noise is a second latent function.

    E[log p] is in closed form; the tilted integral is one over g alone.
    """

    @property
    def num_values(self) -> int:
        return 2

    def check(self, y: np.ndarray) -> np.ndarray:
        return finite(y, "Heteroscedastic")

    def log_prob(self, y: Any, f: Float[Array, " k"]) -> Float[Array, ""]:
        return -0.5 * ((y - f[0]) ** 2 * jnp.exp(-f[1]) + f[1] + LOG_2PI)

    def sample(self, key: PRNGKey, f: Float[Array, " k"]) -> Array:
        return f[0] + jnp.exp(0.5 * f[1]) * jax.random.normal(key, (), f.dtype)

    def moments(self, f: Float[Array, " k"]) -> tuple[Array, Array]:
        return f[0], jnp.exp(f[1])

    def expected(self, y: Any, mean: Float[Array, " k"], cov: Float[Array, "k k"]) -> Float[Array, ""]:
        """E[(y - f)^2 exp(-g)] = exp(-m_g + v_g / 2) ((y - m_f + c)^2 + v_f), c = cov(f, g): exp(-g) tilts f by -c."""
        square = (y - mean[0] + cov[0, 1]) ** 2 + cov[0, 0]
        return -0.5 * (jnp.exp(-mean[1] + 0.5 * cov[1, 1]) * square + mean[1] + LOG_2PI)

    def predict(self, mean: Float[Array, " k"], cov: Float[Array, "k k"]) -> tuple[Array, Array]:
        return mean[0], cov[0, 0] + jnp.exp(mean[1] + 0.5 * cov[1, 1])


class StudentT(Likelihood):
    """y | f ~ f + scale * t_df: outliers are forgiven. Not log-concave: sites may get negative precisions."""

    scale: Scalar = scalar_field(1.0)
    df: Scalar = scalar_field(4.0)

    def check(self, y: np.ndarray) -> np.ndarray:
        return finite(y, "StudentT")

    def log_prob(self, y: Any, f: Float[Array, " k"]) -> Float[Array, ""]:
        half = 0.5 * (self.df + 1)
        constant = gammaln(half) - gammaln(0.5 * self.df) - 0.5 * jnp.log(self.df * jnp.pi) - jnp.log(self.scale)
        return constant - half * jnp.log1p(((y - f[0]) / self.scale) ** 2 / self.df)

    def sample(self, key: PRNGKey, f: Float[Array, " k"]) -> Array:
        return f[0] + self.scale * jax.random.t(key, self.df, (), f.dtype)

    def moments(self, f: Float[Array, " k"]) -> tuple[Array, Array]:
        """The variance is infinite for df <= 2."""
        variance = jnp.where(self.df > 2, self.df / jnp.maximum(self.df - 2, 1e-12), jnp.inf)
        return f[0], self.scale**2 * variance
