"""Neal's funnel: the shape of hierarchical posteriors."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.stats import norm
from jaxtyping import Array, Float

from jensen.core import PRNGKey, Scalar, Space, real_space, require, scalar_field
from jensen.targets.synthetic._base import SyntheticTarget


class Funnel(SyntheticTarget):
    """v ~ N(0, s^2), x_i | v ~ N(0, exp(v)) for i = 1 .. d - 1, times Z.

    `dimension`: d >= 2. `scale`: s (3 in the source). Var x_i = exp(s^2 / 2): the moments of x say little, those of v
    say whether the neck was reached. Source: Neal, Slice sampling (2003).
    """

    dimension: int = eqx.field(static=True, default=10)
    scale: Scalar = scalar_field(3.0)
    log_evidence: Scalar = scalar_field(0.0)

    def __check_init__(self):
        require(self.dimension >= 2, f"A funnel needs at least 2 dimensions, got {self.dimension}")

    @property
    def space(self) -> Space:
        return real_space(v=(), x=(self.dimension - 1,))

    def log_density(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        v, x = z[0], z[1:]
        # log N(x; 0, exp(v)) written out: exp(v / 2) of a far point would overflow earlier than this
        rows = -0.5 * jnp.exp(-v) * jnp.sum(x**2) + (self.dimension - 1) * (norm.logpdf(0.0) - 0.5 * v)
        return self.log_evidence + norm.logpdf(v, 0.0, self.scale) + rows

    def exact_draws(self, key: PRNGKey, n: int) -> Float[Array, "n d"]:
        z = jax.random.normal(key, (n, self.dimension), jnp.result_type(float))
        v = self.scale * z[:, :1]
        return jnp.concatenate([v, jnp.exp(0.5 * v) * z[:, 1:]], axis=1)

    def mean_and_cov(self) -> tuple[Float[Array, " d"], Float[Array, "d d"]]:
        variance = jnp.exp(0.5 * self.scale**2)
        variances = jnp.full(self.dimension, variance).at[0].set(self.scale**2)
        return jnp.zeros(self.dimension), jnp.diag(variances)
