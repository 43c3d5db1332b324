"""Kernels whose every draw solves a linear partial differential equation, where the spectral integral is closed."""

import jax.numpy as jnp
from jaxtyping import Array, Float
from tinygp.kernels import Kernel

from jensen.core import Scalar
from jensen.gp.kernels._fields import hyperparameter


class HeatKernel(Kernel):
    """k((x, t), (x', t')) = (l^2 / D)^(p/2) exp(-|x - x'|^2 / (2 D)), with D = l^2 + 2 c (t + t').

    Every draw solves the heat equation u_t = c Laplacian u on x in R^p, t >= 0: it is the integral of
    e^(i w (x - x') - c |w|^2 (t + t')) over w ~ N(0, I / l^2). At t = 0 it is a squared exponential of lengthscale l.
    Inputs are rows (x, t), the time last; k is defined for t + t' > -l^2 / (2 c) only, and as times grow its features
    forget all high frequencies, so that Gram matrices are nearly singular: compute in double precision.

    `lengthscale`: l of the initial values, in units of x. `diffusivity`: c, in length^2 / time.

    Source: Harkonen, Lange-Hegermann and Raita (2023), Gaussian process priors for systems of linear partial
    differential equations with constant coefficients.
    """

    lengthscale: Scalar = hyperparameter()
    diffusivity: Scalar = hyperparameter()

    def evaluate(self, X1: Float[Array, " d"], X2: Float[Array, " d"]) -> Float[Array, ""]:
        first = self.lengthscale**2
        spread = first + 2 * self.diffusivity * (X1[-1] + X2[-1])
        square = jnp.sum((X1[:-1] - X2[:-1]) ** 2)
        return (first / spread) ** ((X1.shape[0] - 1) / 2) * jnp.exp(-0.5 * square / spread)


class WaveKernel(Kernel):
    """k((x, t), (x', t')) = [g(x - x' - c (t - t')) + g(x - x' + c (t - t'))] / 2, with g(r) = exp(-r^2 / (2 l^2)).

    Every draw solves the wave equation u_tt = c^2 u_xx on the line: waves to the right and to the left, independent
    squared exponentials each, so that any initial position and velocity can be met. Inputs are rows (x, t). In more
    dimensions there is no such formula: use `SolutionKernel(Wave(c), frequencies)`.

    `lengthscale`: l, in units of x. `speed`: c, in length / time.

    Source: Harkonen, Lange-Hegermann and Raita (2023); in one dimension the integral is d'Alembert's formula.
    """

    lengthscale: Scalar = hyperparameter()
    speed: Scalar = hyperparameter()

    def evaluate(self, X1: Float[Array, " 2"], X2: Float[Array, " 2"]) -> Float[Array, ""]:
        x, t = X1 - X2
        right, left = x - self.speed * t, x + self.speed * t
        return 0.5 * (jnp.exp(-0.5 * (right / self.lengthscale) ** 2) + jnp.exp(-0.5 * (left / self.lengthscale) ** 2))
