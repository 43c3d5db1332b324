"""Kernels by their spectrum on one axis: mixtures of Gaussian or Student-t bumps at learned frequencies."""

import abc
import math

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float
from tinygp.kernels import Kernel

from jensen.core import require
from jensen.gp.kernels._fields import as_real


class Bumps(Kernel):
    """k(x, x') = sum_q weights_q g(|d| rates_q) cos(2 pi frequencies_q d), d = x - x', g the transform of a bump.

    One input: points of shape () or (1,). For a grid of several take one such kernel an axis (`jensen.gp.Kronecker`).
    Twice differentiable, also at d = 0, so that derivatives of f have covariances.

    `weights`: variances, (q,). `rates`: widths of the bumps, 1 / length, (q,). `frequencies`: cycles per unit of x,
    (q,), trained as real numbers. Training cannot carry a frequency across many periods of the data: start from a comb
    that covers them. Log weights with a flat prior (a Jeffreys prior of each weight) prune what is not needed.

    Raises `InputError` for vectors of different lengths.
    """

    weights: Float[Array, " q"] = eqx.field(converter=as_real)
    rates: Float[Array, " q"] = eqx.field(converter=as_real)
    frequencies: Float[Array, " q"] = eqx.field(converter=as_real, metadata={"real": True})

    def __check_init__(self):
        shapes = [jnp.shape(v) for v in (self.weights, self.rates, self.frequencies)]
        require(
            len(shapes[0]) == 1 and len(set(shapes)) == 1,
            f"weights, rates and frequencies must be vectors of one length, got shapes {shapes}",
        )

    @abc.abstractmethod
    def envelope(self, s: Float[Array, " q"]) -> Float[Array, " q"]:
        """g(s), s >= 0, with g(0) = 1."""

    def evaluate(self, X1: Float[Array, "*one"], X2: Float[Array, "*one"]) -> Float[Array, ""]:
        d = jnp.reshape(X1 - X2, ())
        # |d| with derivative 1 at 0, not 0: g is even, and its second derivative must not vanish there
        size = jnp.where(d >= 0, d, -d)
        waves = jnp.cos(2 * math.pi * self.frequencies * d)
        return jnp.sum(self.weights * self.envelope(size * self.rates) * waves)


class SpectralMixture(Bumps):
    """k(d) = sum_q w_q exp(-(d rate_q)^2) cos(2 pi mu_q d): a spectrum of Gaussian bumps at +-mu_q.

    The bumps have standard deviation rate / (sqrt(2) pi) in cycles per unit. Infinitely smooth.

    Source: Wilson and Adams (2013), Gaussian process kernels for pattern discovery and extrapolation.
    """

    def envelope(self, s: Float[Array, " q"]) -> Float[Array, " q"]:
        return jnp.exp(-(s**2))


class StudentTMixture(Bumps):
    """k(d) = sum_q w_q (1 + s + s^2 / 3) exp(-s) cos(2 pi mu_q d), s = sqrt(5) |d| rate_q.

    A spectrum of Student-t bumps with 5 degrees of freedom: heavier tails than Gaussian ones reach frequencies between
    those of the comb, and the kernel (Matern-5/2 times a cosine) has better conditioned Gram matrices.

    Source: Fang, Cooley, Long, Li, Kirby and Zhe (2024), Solving high frequency and multi-scale PDEs with Gaussian
    processes.
    """

    def envelope(self, s: Float[Array, " q"]) -> Float[Array, " q"]:
        s = math.sqrt(5) * s
        return (1 + s + s**2 / 3) * jnp.exp(-s)
