"""Matern kernels of any half-integer smoothness, with an oscillation."""

import math
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float
from tinygp.kernels import Kernel

from jensen.core import Scalar, require
from jensen.gp.kernels._fields import as_real, hyperparameter


def _maybe_real(value: Any) -> Array | None:
    return None if value is None else as_real(value)


class HidaMatern(Kernel):
    """k(t, t') = variance * Matern_nu(|t - t'| / lengthscale) * cos(frequency (t - t')), nu = order + 1/2, on the line.

    Sums of these are dense among the stationary kernels, as spectral mixtures are, and each has a state-space form of
    2 (order + 1) states. `order`: p >= 0, static: f has p derivatives. `lengthscale` in units of t, `frequency` in
    radians a unit of t (None: the Matern kernel, p + 1 states), `variance` in squared units of f. Raises `InputError`
    for p < 0.

    Source: Dowling, Sokol and Park (2021), Hida-Matern kernel.
    """

    order: int = eqx.field(static=True, default=1)
    lengthscale: Scalar = hyperparameter()
    frequency: Scalar | None = eqx.field(default=None, converter=_maybe_real)
    variance: Scalar = hyperparameter()

    def __check_init__(self):
        require(self.order >= 0, f"HidaMatern.order must be 0 or more, got {self.order}")

    def of_gap(self, gap: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """k as a function of t - t'."""
        p = self.order
        u = math.sqrt(2 * p + 1) / self.lengthscale * jnp.abs(gap)
        polynomial = jnp.zeros_like(u)
        for j in range(p + 1):  # by Horner's rule in 2 u, highest power first
            size = math.factorial(p + j) / (math.factorial(j) * math.factorial(p - j))
            polynomial = polynomial * (2 * u) + size * math.factorial(p) / math.factorial(2 * p)
        matern = self.variance * polynomial * jnp.exp(-u)
        return matern if self.frequency is None else matern * jnp.cos(self.frequency * gap)

    def evaluate(self, X1: Array, X2: Array) -> Array:
        return self.of_gap(jnp.reshape(X1, ()) - jnp.reshape(X2, ()))

    def __call__(self, X1: Array, X2: Array | None = None) -> Array:
        a = jnp.reshape(X1, -1)
        if X2 is None:
            return jnp.full(a.shape, self.variance)
        return self.of_gap(a[:, None] - jnp.reshape(X2, -1))
