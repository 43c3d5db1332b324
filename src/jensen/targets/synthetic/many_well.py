"""Many double wells: 2^(d/2) modes of unequal mass."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float

from jensen.core import PRNGKey, Scalar, Space, real_space, require, scalar_field
from jensen.targets.synthetic._base import SyntheticTarget

_GRID = 4001  # the trapezoid rule on a smooth density that vanishes at both ends is exact to rounding long before this


class ManyWell(SyntheticTarget):
    """log p(z) = sum over pairs (x, y) of z of  w^2 - (x^2 - w)^2 + t x - y^2 / 2.

    Coordinates 0, 2, 4 ... are double wells with minima at -+ sqrt(w), tilted by t; coordinates 1, 3, 5 ... are unit
    normal. `well`: w (3) and `tilt`: t (0.5), which is -x^4 + 6 x^2 + x / 2. `dimension`: d, even.
    Source: Noe, Olsson, Koehler, Wu (2019); as a test of samplers, Midgley et al. (2023).
    """

    dimension: int = eqx.field(static=True, default=4)
    well: Scalar = scalar_field(3.0)
    tilt: Scalar = scalar_field(0.5)

    def __check_init__(self):
        require(self.dimension >= 2 and self.dimension % 2 == 0, f"dimension must be even, got {self.dimension}")

    @property
    def space(self) -> Space:
        return real_space(z=(self.dimension,))

    def _log_well(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        return self.well**2 - (x**2 - self.well) ** 2 + self.tilt * x

    def log_density(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        return jnp.sum(self._log_well(z[::2])) - 0.5 * jnp.sum(z[1::2] ** 2)

    def _quadrature(self) -> tuple[Float[Array, " grid"], Float[Array, " grid"], Scalar]:
        reach = jnp.sqrt(self.well) + 4.0 + jnp.abs(self.tilt)
        x = jnp.linspace(-1.0, 1.0, _GRID) * reach
        log_f = self._log_well(x)
        log_z = logsumexp(log_f) + jnp.log(x[1] - x[0])
        return x, jnp.exp(log_f - logsumexp(log_f)), log_z

    @property
    def log_evidence(self) -> Scalar:
        return self.dimension // 2 * (self._quadrature()[2] + 0.5 * math.log(2 * math.pi))

    def exact_draws(self, key: PRNGKey, n: int) -> Float[Array, "n d"]:
        """Rejection from two Gaussians: (x^2 - w)^2 >= w (|x| - sqrt w)^2 bounds the well by their sum."""
        key_wells, key_rest = jax.random.split(key)
        shape = (n, self.dimension // 2)
        root = jnp.sqrt(self.well)
        right_mass = jax.nn.sigmoid(2 * self.tilt * root)

        def log_bound(x: Float[Array, "..."]) -> Float[Array, "..."]:
            bells = jnp.logaddexp(-self.well * (x - root) ** 2, -self.well * (x + root) ** 2)
            return self.well**2 + self.tilt * x + bells

        def propose(carry: tuple[PRNGKey, Array, Array]) -> tuple[PRNGKey, Array, Array]:
            key, x, done = carry
            key, key_side, key_bell, key_accept = jax.random.split(key, 4)
            side = jnp.where(jax.random.bernoulli(key_side, right_mass, shape), 1.0, -1.0)
            bell = jax.random.normal(key_bell, shape, x.dtype) / jnp.sqrt(2 * self.well)
            trial = side * root + self.tilt / (2 * self.well) + bell
            log_u = jnp.log1p(-jax.random.uniform(key_accept, shape, x.dtype))
            accept = log_u < self._log_well(trial) - log_bound(trial)
            return key, jnp.where(done | ~accept, x, trial), done | accept

        first = (key_wells, jnp.zeros(shape), jnp.zeros(shape, bool))
        _, wells, _ = jax.lax.while_loop(lambda carry: ~jnp.all(carry[2]), propose, first)
        rest = jax.random.normal(key_rest, shape, wells.dtype)
        return jnp.stack([wells, rest], axis=-1).reshape(n, self.dimension)

    def mean_and_cov(self) -> tuple[Float[Array, " d"], Float[Array, "d d"]]:
        x, mass, _ = self._quadrature()
        mean = jnp.sum(mass * x)
        pairs = self.dimension // 2
        variances = jnp.tile(jnp.stack([jnp.sum(mass * (x - mean) ** 2), jnp.ones_like(mean)]), pairs)
        return jnp.tile(jnp.stack([mean, jnp.zeros_like(mean)]), pairs), jnp.diag(variances)
