"""Stationary kernels with a lengthscale for each input and an amplitude, in the fast form for whole matrices."""

import abc
import math
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float
from tinygp.kernels import Kernel

from jensen.gp.kernels._fields import Number, Numbers, hyperparameter


def as_rows(x: Any) -> Float[Array, "n d"]:
    """Inputs of shape (n,) as (n, 1); (n, d) as they are."""
    x = jnp.asarray(x)
    return x[:, None] if x.ndim == 1 else x


class Stationary(Kernel):
    """k(x, x') = variance * rho(|(x - x') / lengthscale|), Euclidean norm.

    `lengthscale`: one for all inputs, or (d,) for one each (automatic relevance determination), in units of the inputs;
    `variance`: in squared units of f. A tinygp kernel: it adds, multiplies and transforms as these do. Matrices are
    made
    from one product of the scaled inputs instead of a loop over pairs.
    """

    lengthscale: Numbers = hyperparameter()
    variance: Number = hyperparameter()

    @abc.abstractmethod
    def correlation(self, square: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """rho as a function of the *squared* scaled distance."""

    def evaluate(self, X1: Any, X2: Any) -> Array:
        difference = (jnp.atleast_1d(X1) - jnp.atleast_1d(X2)) / self.lengthscale
        return self.variance * self.correlation(jnp.sum(difference**2))

    def evaluate_diag(self, X: Any) -> Array:
        return self.variance

    def __call__(self, X1: Any, X2: Any = None) -> Array:
        a = as_rows(X1) / self.lengthscale
        if X2 is None:
            return jnp.full(a.shape[0], self.variance)
        b = as_rows(X2) / self.lengthscale
        centre = jnp.mean(b, 0)  # products of large numbers would drown small distances
        a, b = a - centre, b - centre
        square = jnp.sum(a**2, 1)[:, None] + jnp.sum(b**2, 1) - 2 * a @ b.T
        return self.variance * self.correlation(jnp.maximum(square, 0.0))


def _root(square: Array) -> Array:
    # the derivative of a root at zero is infinite, that of every correlation below is zero there
    tiny = jnp.finfo(square.dtype).tiny ** 0.5
    return jnp.sqrt(jnp.maximum(square, tiny))


class RBF(Stationary):
    """rho(r) = exp(-r^2 / 2): infinitely smooth (squared exponential, Gaussian)."""

    def correlation(self, square: Float[Array, "*n"]) -> Float[Array, "*n"]:
        return jnp.exp(-0.5 * square)


class Matern12(Stationary):
    """rho(r) = exp(-r): continuous, nowhere differentiable (Ornstein-Uhlenbeck in one dimension)."""

    def correlation(self, square: Float[Array, "*n"]) -> Float[Array, "*n"]:
        return jnp.exp(-_root(square))


class Matern32(Stationary):
    """rho(r) = (1 + sqrt(3) r) exp(-sqrt(3) r): once differentiable."""

    def correlation(self, square: Float[Array, "*n"]) -> Float[Array, "*n"]:
        r = math.sqrt(3) * _root(square)
        return (1 + r) * jnp.exp(-r)


class Matern52(Stationary):
    """rho(r) = (1 + sqrt(5) r + 5 r^2 / 3) exp(-sqrt(5) r): twice differentiable."""

    def correlation(self, square: Float[Array, "*n"]) -> Float[Array, "*n"]:
        r = math.sqrt(5) * _root(square)
        return (1 + r + r**2 / 3) * jnp.exp(-r)


class RationalQuadratic(Stationary):
    """rho(r) = (1 + r^2 / (2 alpha))^-alpha: a scale mixture of `RBF` over lengthscales."""

    alpha: Number = hyperparameter()

    def correlation(self, square: Float[Array, "*n"]) -> Float[Array, "*n"]:
        return jnp.exp(-self.alpha * jnp.log1p(square / (2 * self.alpha)))
