"""Matern processes of any half-integer smoothness in state-space form."""

import functools
import math
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jensen.gp.state_space.sde import SDE

TERMS = 22  # of the exponential's series for arguments up to 2: the next is below 2^22 / 22! = 4e-15 of the first


@functools.cache
def constants(order: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of the process with spectrum 1 / (1 + w^2)^(p + 1) in unit time: what is the same for every lengthscale.

    States are f and its p derivatives, each scaled to unit variance. Returns h (d,); P (d, d); the coefficients N_j
    (d, d, d) of Phi(u) = exp(-u) sum_j N_j u^j; and those of Q(u) (d, d, terms), a power series for u <= 1.
    """
    size = order + 1
    binomial = np.array([math.comb(size, j) for j in range(size)], float)
    nilpotent = np.eye(size) + np.diag(np.ones(order), 1)
    nilpotent[-1] -= binomial
    powers = np.stack([np.linalg.matrix_power(nilpotent, j) / math.factorial(j) for j in range(size)])
    # exp(F u) L = exp(-u) p(u), and Q(u) is the integral of exp(-2s) p(s) p(s)^T from 0 to u
    p = powers[:, :, -1].T
    products = np.zeros((size, size, 2 * order + 1))
    for i in range(size):
        for j in range(size):
            products[i, j] = np.convolve(p[i], p[j])
    stationary = products @ [math.factorial(k) / 2.0 ** (k + 1) for k in range(2 * order + 1)]
    series = np.zeros((size, size, 2 * order + TERMS + 1))
    for k in range(2 * order + 1):
        for m in range(TERMS):
            series[:, :, k + m + 1] += products[:, :, k] * (-2.0) ** m / (math.factorial(m) * (k + m + 1))
    scale = np.sqrt(np.diag(stationary))
    outer = scale[:, None] * scale
    powers = powers * (scale / scale[:, None])
    # odd mixed moments of a stationary process and its derivatives vanish, and sums only nearly do
    even = (np.arange(size)[:, None] + np.arange(size)) % 2 == 0
    return np.eye(size)[0], np.where(even, stationary / outer, 0.0), powers, series / outer[..., None]


class Matern(SDE):
    """The Matern kernel with nu = p + 1/2: p + 1 states. p = 0, 1, 2 are `Matern12`, `Matern32` and `Matern52`.

    `order`: p, static. `lengthscale` in units of time, `variance` in squared units of f. Q comes from its power series
    below sqrt(2 nu) dt / lengthscale = 1, with full relative accuracy in every entry (which fall like dt^(2p + 1)), so
    that a million closely spaced times do no harm.

    Source: Hartikainen and Sarkka (2010), Kalman filtering and smoothing solutions to temporal Gaussian process
    regression models; the series is derived here.
    """

    order: int = eqx.field(static=True)
    lengthscale: Float[Array, ""]
    variance: Float[Array, ""]

    def units(self, gap: Float[Array, " b"]) -> Float[Array, " b"]:
        """The gap in the process's own time, sqrt(2 nu) dt / lengthscale."""
        return math.sqrt(2 * self.order + 1) / self.lengthscale * gap

    def readout(self) -> Float[Array, " d"]:
        return jnp.asarray(constants(self.order)[0], self.lengthscale.dtype)

    def stationary(self) -> Float[Array, "d d"]:
        return self.variance * jnp.asarray(constants(self.order)[1], self.lengthscale.dtype)

    def transition(self, gap: Float[Array, " b"]) -> Float[Array, "d d b"]:
        u = self.units(gap)
        return jnp.exp(-u) * _horner(constants(self.order)[2].transpose(1, 2, 0), u)

    def noise(self, gap: Float[Array, " b"]) -> Float[Array, "d d b"]:
        _, stationary, powers, series = constants(self.order)
        u = self.units(gap)
        near = _horner(series, jnp.minimum(u, 1.0))
        far = jnp.exp(-u) * _horner(powers.transpose(1, 2, 0), u)
        left = jnp.einsum("ijb,jk,lkb->ilb", far, jnp.asarray(stationary, u.dtype), far)
        return self.variance * jnp.where(u <= 1, near, jnp.asarray(stationary, u.dtype)[..., None] - left)


def _horner(coefficients: np.ndarray, u: Float[Array, " b"]) -> Float[Array, "d d b"]:
    """sum_k c_ijk u^k."""
    value: Any = jnp.zeros((), u.dtype)
    for k in range(coefficients.shape[-1] - 1, -1, -1):
        value = value * u + jnp.asarray(coefficients[:, :, k, None], u.dtype)
    return jnp.broadcast_to(value, (*coefficients.shape[:2], *u.shape))
