"""Stationary kernels with a lengthscale for each input and an amplitude, in the fast form for whole matrices."""

import abc
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from tinygp.kernels import Kernel

from jensen.gp.kernels._distances import difference_squares, product_squares
from jensen.gp.kernels._fields import Number, Numbers, hyperparameter


def as_rows(x: Any) -> Float[Array, "n d"]:
    """Inputs of shape (n,) as (n, 1); (n, d) as they are."""
    x = jnp.asarray(x)
    return x[:, None] if x.ndim == 1 else x


class Stationary(Kernel):
    """k(x, x') = variance * rho(|(x - x') / lengthscale|), Euclidean norm.

    `lengthscale`: one for all inputs, or (d,) for one each (automatic relevance determination), in units of the inputs;
    `variance`: in squared units of f. A tinygp kernel: it adds, multiplies and transforms as these do. Matrices are
    made from one product of the scaled inputs instead of a loop over pairs.
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
        x = as_rows(X1)
        if X2 is None:
            return jnp.full(x.shape[0], self.variance)
        return self.variance * self.correlation(self.squares(x, as_rows(X2)))

    def squares(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, "n m"]:
        """Squared scaled distances, to rounding in units of the largest one (of each one where d = 1)."""
        squares = difference_squares if x.shape[1] == 1 else product_squares
        return squares(x, y, self.lengthscale)


# Matern correlations as functions of q = (2 nu) r^2. The derivative of each is a multiple of the next rougher one, so
# that all derivatives that a kernel has are right at coincident inputs too, where that of sqrt(q) is infinite.


def _exponential(q: Array) -> Array:
    """exp(-s), s = sqrt(q); its derivative at 0 is taken as 0."""
    return jnp.exp(-jnp.sqrt(jnp.maximum(q, jnp.finfo(q.dtype).tiny ** 0.5)))


@jax.custom_jvp
def _once(q: Array) -> Array:
    """(1 + s) exp(-s)."""
    s = jnp.sqrt(q)
    return (1 + s) * jnp.exp(-s)


@_once.defjvp
def _(primals: Any, tangents: Any) -> Any:
    return _once(*primals), -0.5 * _exponential(*primals) * tangents[0]


@jax.custom_jvp
def _twice(q: Array) -> Array:
    """(1 + s + s^2 / 3) exp(-s)."""
    s = jnp.sqrt(q)
    return (1 + s + q / 3) * jnp.exp(-s)


@_twice.defjvp
def _(primals: Any, tangents: Any) -> Any:
    return _twice(*primals), -_once(*primals) / 6 * tangents[0]


class RBF(Stationary):
    """rho(r) = exp(-r^2 / 2): infinitely smooth (squared exponential, Gaussian)."""

    def correlation(self, square: Float[Array, "*n"]) -> Float[Array, "*n"]:
        return jnp.exp(-0.5 * square)


class Matern12(Stationary):
    """rho(r) = exp(-r): continuous, nowhere differentiable (Ornstein-Uhlenbeck in one dimension)."""

    def squares(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, "n m"]:
        """From the differences themselves: r has a cusp at 0, where rounding of r^2 would show as its root."""
        return difference_squares(x, y, self.lengthscale)

    def correlation(self, square: Float[Array, "*n"]) -> Float[Array, "*n"]:
        return _exponential(square)


class Matern32(Stationary):
    """rho(r) = (1 + sqrt(3) r) exp(-sqrt(3) r): once differentiable."""

    def correlation(self, square: Float[Array, "*n"]) -> Float[Array, "*n"]:
        return _once(3 * square)


class Matern52(Stationary):
    """rho(r) = (1 + sqrt(5) r + 5 r^2 / 3) exp(-sqrt(5) r): twice differentiable."""

    def correlation(self, square: Float[Array, "*n"]) -> Float[Array, "*n"]:
        return _twice(5 * square)


class RationalQuadratic(Stationary):
    """rho(r) = (1 + r^2 / (2 alpha))^-alpha: a scale mixture of `RBF` over lengthscales."""

    alpha: Number = hyperparameter()

    def correlation(self, square: Float[Array, "*n"]) -> Float[Array, "*n"]:
        return jnp.exp(-self.alpha * jnp.log1p(square / (2 * self.alpha)))
