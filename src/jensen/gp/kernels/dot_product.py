"""Kernels of linear functions, constants, and periodic functions."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array
from tinygp.kernels import Kernel

from jensen.gp.kernels._fields import Number, Numbers, hyperparameter
from jensen.gp.kernels.stationary import as_rows


class Linear(Kernel):
    """k(x, x') = x^T diag(variance) x': linear functions through the origin with slopes N(0, variance)."""

    variance: Numbers = hyperparameter()

    def evaluate(self, X1: Any, X2: Any) -> Array:
        return jnp.sum(jnp.atleast_1d(X1) * self.variance * jnp.atleast_1d(X2))

    def __call__(self, X1: Any, X2: Any = None) -> Array:
        a = as_rows(X1)
        if X2 is None:
            return jnp.sum(a**2 * self.variance, 1)
        return (a * self.variance) @ as_rows(X2).T


class Constant(Kernel):
    """k(x, x') = variance: an unknown level N(0, variance)."""

    variance: Number = hyperparameter()

    def evaluate(self, X1: Any, X2: Any) -> Array:
        return self.variance

    def __call__(self, X1: Any, X2: Any = None) -> Array:
        rows = jnp.shape(X1)[0]
        return jnp.full((rows,) if X2 is None else (rows, jnp.shape(X2)[0]), self.variance)


class Periodic(Kernel):
    """k(x, x') = variance * exp(-2 sum_j sin^2(pi (x_j - x'_j) / period) / lengthscale^2) (MacKay 1998).

    `period` in units of the inputs, `lengthscale` relative to the period's circle, both one for all inputs or (d,).
    """

    lengthscale: Numbers = hyperparameter()
    period: Numbers = hyperparameter()
    variance: Number = hyperparameter()

    def evaluate(self, X1: Any, X2: Any) -> Array:
        phase = jnp.pi * (jnp.atleast_1d(X1) - jnp.atleast_1d(X2)) / self.period
        return self.variance * jnp.exp(-2 * jnp.sum((jnp.sin(phase) / self.lengthscale) ** 2))
