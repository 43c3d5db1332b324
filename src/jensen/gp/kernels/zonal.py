"""Zonal kernels: functions of the angle between inputs, and their spectra on the sphere."""

import abc
import functools
import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from tinygp.kernels import Kernel

from jensen.core import require
from jensen.gp.kernels._fields import hyperparameter
from jensen.gp.kernels.stationary import Stationary, as_rows

NODES = 160  # of Gauss-Legendre on each quarter circle: kinks of activations and kernels sit at 0, 1/2 pi and pi only


class Shape(eqx.Module):
    """kappa(t), a positive definite function of the cosine t of the angle between two points of a sphere."""

    @abc.abstractmethod
    def value(self, t: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """kappa(t) for t in [-1, 1]; kappa(1) = 1."""


class Chord(Shape):
    """kappa(t) = rho(|x - x'|) of a stationary kernel, by the chord |x - x'|^2 = 2 (1 - t) of the unit sphere."""

    kernel: Stationary

    def value(self, t: Float[Array, "*n"]) -> Float[Array, "*n"]:
        return self.kernel.correlation(2 * jnp.maximum(1 - t, 0.0) / self.kernel.lengthscale**2)


class ArcCosine(Shape):
    """kappa(t) = (sin a + (pi - a) t) / pi, a = arccos t: infinitely wide one-layer networks of ReLU units.

    Source: Cho and Saul (2009), Kernel methods for deep learning.
    """

    def value(self, t: Float[Array, "*n"]) -> Float[Array, "*n"]:
        # the slope of arccos is infinite at the ends
        edge = 1 - 4 * float(jnp.finfo(t.dtype).eps)
        inside = jnp.clip(t, -edge, edge)
        return (jnp.sqrt(1 - inside**2) + (math.pi - jnp.arccos(inside)) * t) / math.pi


class Zonal(Kernel):
    """k(x, x') = variance r r' kappa(t), r = |v|, t = cos of the angle of v and v', v = (x / lengthscale, bias).

    The extra coordinate `bias` > 0 makes affine functions of x homogeneous ones of v. On the sphere of R^d (d one more
    than the inputs) kappa(t) = sum_l lam_l N_l P_l(t), with P_l the Gegenbauer polynomials, P_l(1) = 1, and N_l the
    number of harmonics of degree l. Not stationary: the variance grows as r^2.

    Source: Dutordoir, Durrande and Hensman (2020), Sparse Gaussian processes with spherical harmonic features.
    """

    shape: Shape = ArcCosine()
    lengthscale: Float[Array, "*d"] = hyperparameter()
    bias: Float[Array, ""] = hyperparameter()
    variance: Float[Array, ""] = hyperparameter()

    def lifted(self, x: Any) -> tuple[Float[Array, " n"], Float[Array, "n d"]]:
        """Lengths r and directions v / r of inputs (n, d - 1)."""
        x = as_rows(x) / self.lengthscale
        v = jnp.concatenate([x, jnp.full((x.shape[0], 1), self.bias)], 1)
        r = jnp.linalg.norm(v, axis=1)
        return r, v / r[:, None]

    def evaluate(self, X1: Any, X2: Any) -> Array:
        return self(jnp.atleast_1d(X1)[None], jnp.atleast_1d(X2)[None])[0, 0]

    def __call__(self, X1: Any, X2: Any = None) -> Array:
        r, v = self.lifted(X1)
        if X2 is None:
            return self.variance * r**2 * self.shape.value(jnp.ones_like(r))
        s, w = self.lifted(X2)
        return self.variance * r[:, None] * s * self.shape.value(jnp.clip(v @ w.T, -1.0, 1.0))

    def spectrum(self, dimension: int, degree: int) -> Float[Array, " degrees"]:
        """lam_l of variance * kappa for l = 0 .. degree on the sphere of R^dimension; rounding below 0 is set to 0."""
        return jnp.maximum(self.variance * funk_hecke(self.shape.value, dimension, degree), 0.0)


def funk_hecke(
    f: Callable[[Float[Array, " n"]], Float[Array, " n"]], dimension: int, degree: int
) -> Float[Array, " degrees"]:
    """c_l = w int_-1^1 f(t) P_l(t) (1 - t^2)^((d - 3) / 2) dt for l = 0 .. degree, w normalising the measure.

    Then f(t) = sum_l c_l N_l P_l(t). By Gauss-Legendre in the angle on both quarter circles: exact to rounding for f
    smooth but for a kink at t = 0. Raises `InputError` for d < 2.
    """
    require(dimension >= 2, f"A sphere of R^d needs d >= 2, got {dimension}")
    t, weights, table = _rule(dimension, degree)
    return jnp.asarray(table) @ (jnp.asarray(weights) * f(jnp.asarray(t)))


@functools.cache
def _rule(dimension: int, degree: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    quarter = 0.25 * np.pi * (nodes + 1)
    angle = np.concatenate([quarter, np.pi - quarter])
    weights = np.tile(weights, 2) * np.sin(angle) ** (dimension - 2)
    t = np.cos(angle)
    polynomials = [np.ones_like(t), t]
    for n in range(1, degree):
        below = n * polynomials[-2]
        polynomials.append(((2 * n + dimension - 2) * t * polynomials[-1] - below) / (n + dimension - 2))
    return t, weights / weights.sum(), np.stack(polynomials[: degree + 1])


def zonal_series(coefficients: Float[Array, " degrees"], dimension: int, t: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """sum_l coefficients_l N_l P_l(t), by the three-term recurrence."""
    degree = coefficients.shape[0] - 1
    counts = jnp.asarray(harmonic_counts(dimension, degree), t.dtype)
    total = jnp.full(t.shape, coefficients[0] * counts[0])
    if degree == 0:
        return total

    def step(carry: Any, n: Array) -> tuple[Any, None]:
        below, now, total = carry
        above = ((2 * n + dimension - 2) * t * now - n * below) / (n + dimension - 2)
        index = jnp.asarray(n, int) + 1
        return (now, above, total + coefficients[index] * counts[index] * above), None

    start = (jnp.ones_like(t), t, total + coefficients[1] * counts[1] * t)
    return jax.lax.scan(step, start, jnp.arange(1, degree, dtype=t.dtype))[0][2]


def harmonic_counts(dimension: int, degree: int) -> list[int]:
    """N_l, the number of independent harmonics of degree l = 0 .. degree on the sphere of R^dimension."""
    return [
        1 if n == 0 else (2 * n + dimension - 2) * math.comb(n + dimension - 3, n - 1) // n for n in range(degree + 1)
    ]
