"""A ring in the plane."""

import math

import jax
import jax.numpy as jnp
from jax.scipy.stats import norm
from jaxtyping import Array, Float, Int

from jensen.core import PRNGKey, Scalar, Space, real_space, scalar_field
from jensen.targets.synthetic._base import SyntheticTarget


class Ring(SyntheticTarget):
    """log p(z) = -(|z| - R)^2 / (2 s^2) on the plane, with log Z = log 2 pi I_1.

    I_n = int_0^inf t^n exp(-(t - R)^2 / (2 s^2)) dt, by I_n = R I_{n-1} + (n - 1) s^2 I_{n-2}. `radius`: R. `width`: s.
    """

    radius: Scalar = scalar_field(4.0)
    width: Scalar = scalar_field(0.3)

    @property
    def space(self) -> Space:
        return real_space(z=(2,))

    def log_density(self, z: Float[Array, " 2"]) -> Float[Array, ""]:
        square = jnp.sum(z**2)
        # the root has no derivative at the centre: a safe argument there keeps the gradient finite
        length = jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)
        return -0.5 * ((length - self.radius) / self.width) ** 2

    def _integrals(self) -> tuple[Scalar, Scalar, Scalar, Scalar]:
        r, s = self.radius, self.width
        i0 = s * math.sqrt(2 * math.pi) * norm.cdf(r / s)
        i1 = r * i0 + s**2 * jnp.exp(-0.5 * (r / s) ** 2)
        i2 = r * i1 + s**2 * i0
        return i0, i1, i2, r * i2 + 2 * s**2 * i1

    @property
    def log_evidence(self) -> Scalar:
        return jnp.log(2 * math.pi * self._integrals()[1])

    def exact_draws(self, key: PRNGKey, n: int) -> Float[Array, "n 2"]:
        """A uniform angle, and a length by inversion of its distribution function (bisection to machine precision)."""
        key_length, key_angle = jax.random.split(key)
        r, s = self.radius, self.width
        i1 = self._integrals()[1]

        def mass(t: Float[Array, " n"]) -> Float[Array, " n"]:
            bell = jnp.exp(-0.5 * (r / s) ** 2) - jnp.exp(-0.5 * ((t - r) / s) ** 2)
            return (s**2 * bell + r * s * math.sqrt(2 * math.pi) * (norm.cdf((t - r) / s) - norm.cdf(-r / s))) / i1

        u = jax.random.uniform(key_length, (n,), jnp.result_type(float))

        def halve(_: Int[Array, ""], ends: tuple[Array, Array]) -> tuple[Array, Array]:
            low, high = ends
            middle = 0.5 * (low + high)
            below = mass(middle) < u
            return jnp.where(below, middle, low), jnp.where(below, high, middle)

        low, high = jax.lax.fori_loop(0, 60, halve, (jnp.zeros(n), jnp.full(n, 1.0) * (r + 10 * s)))
        length = 0.5 * (low + high)
        angle = jax.random.uniform(key_angle, (n,), length.dtype, 0.0, 2 * math.pi)
        return length[:, None] * jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=1)

    def mean_and_cov(self) -> tuple[Float[Array, " 2"], Float[Array, "2 2"]]:
        _, i1, _, i3 = self._integrals()
        return jnp.zeros(2), 0.5 * i3 / i1 * jnp.eye(2)
