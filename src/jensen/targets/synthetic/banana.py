"""The banana of Haario: a Gaussian bent along a parabola."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.stats import norm
from jaxtyping import Array, Float

from jensen.core import PRNGKey, Scalar, Space, real_space, require, scalar_field
from jensen.targets.synthetic._base import SyntheticTarget


class Banana(SyntheticTarget):
    """z_1 ~ N(0, s^2), z_2 | z_1 ~ N(b (z_1^2 - s^2), 1), the rest N(0, 1), times Z.

    `curvature`: b. `scale`: s. `dimension`: d >= 2. The covariance is diagonal, (s^2, 1 + 2 b^2 s^4, 1 ...).
    Source: Haario, Saksman, Tamminen (1999).
    """

    dimension: int = eqx.field(static=True, default=2)
    curvature: Scalar = scalar_field(0.1)
    scale: Scalar = scalar_field(3.0)
    log_evidence: Scalar = scalar_field(0.0)

    def __check_init__(self):
        require(self.dimension >= 2, f"A banana needs at least 2 dimensions, got {self.dimension}")

    @property
    def space(self) -> Space:
        return real_space(z=(self.dimension,))

    def log_density(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        bend = self.curvature * (z[0] ** 2 - self.scale**2)
        straight = norm.logpdf(z[0], 0.0, self.scale) + norm.logpdf(z[1], bend)
        return self.log_evidence + straight + jnp.sum(norm.logpdf(z[2:]))

    def exact_draws(self, key: PRNGKey, n: int) -> Float[Array, "n d"]:
        z = jax.random.normal(key, (n, self.dimension), jnp.result_type(float))
        first = self.scale * z[:, 0]
        return z.at[:, 0].set(first).at[:, 1].add(self.curvature * (first**2 - self.scale**2))

    def mean_and_cov(self) -> tuple[Float[Array, " d"], Float[Array, "d d"]]:
        variances = jnp.ones(self.dimension).at[0].set(self.scale**2)
        variances = variances.at[1].set(1 + 2 * self.curvature**2 * self.scale**4)
        return jnp.zeros(self.dimension), jnp.diag(variances)
