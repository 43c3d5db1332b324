"""Sparse priors: f seen through M inducing variables, ordinary values f(Z) or any linear functionals of f."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jensen.core import by_columns
from jensen.gp._linalg import cholesky, solve_lower
from jensen.gp.kernels._fields import Numbers, hyperparameter
from jensen.gp.kernels.stationary import as_rows
from jensen.gp.priors._white import KernelPrior, Mean, zero_mean


class Features(eqx.Module):
    """Inducing variables u = linear functionals of f ~ GP(0, k): their covariances with each other and with f."""

    @abc.abstractmethod
    def covariance(self, kernel: Any) -> Float[Array, "m m"]:
        """Kuu."""

    @abc.abstractmethod
    def cross(self, kernel: Any, x: Float[Array, "n d"]) -> Float[Array, "m n"]:
        """Kuf at inputs x."""


def _rows(z: Any) -> Array:
    return as_rows(jnp.asarray(z, jnp.result_type(float)))


class Points(Features):
    """u = f(Z): ordinary inducing points Z = units * z, of shape (M, d).

    `units`: what z is measured in, one a column, not trained: with the inputs' standard deviations there, training z
    takes steps of a fit size whatever the units of the inputs are.
    """

    z: Any = eqx.field(converter=_rows, metadata={"real": True})
    units: Numbers = hyperparameter(1.0, fixed=True)

    def places(self) -> Float[Array, "m d"]:
        """Z, in the units of the inputs."""
        return self.z * self.units

    def covariance(self, kernel: Any) -> Float[Array, "m m"]:
        return kernel(self.places(), self.places())

    def cross(self, kernel: Any, x: Float[Array, "n d"]) -> Float[Array, "m n"]:
        return kernel(self.places(), x)


class Inducing(KernelPrior):
    """f = Kfu Kuu^-1 u + residual, u = L z with Kuu = L L^T; the sites act on E[f_i | u] (Titsias 2009).

    The exact GP's variational approximation with M inducing variables: O(N M^2 + M^3) time, O(N M) memory; with Z = X
    it is the exact prior. `kernel`: one kernel or k of them for k independent latent functions that share the features.
    The bound of `CVI` on it is a bound on the exact evidence.
    """

    features: Features

    def __init__(self, kernel: Any, x: Any, features: Any, mean: Mean = zero_mean):
        super().__init__(kernel, x, mean)
        self.features = features if isinstance(features, Features) else Points(features)

    @property
    def dimension(self) -> int:
        size = jax.eval_shape(lambda: self.features.covariance(self.kernels[0])).shape[0]
        return size * self.num_values

    def restricted(self, rows: Int[Array, " b"]) -> "Inducing":
        return eqx.tree_at(lambda p: p.x, self, self.x[rows])

    def half(self, kernel: Any, x: Float[Array, "n d"]) -> Float[Array, "m n"]:
        """L^-1 Kuf: the white inducing variables' covariance with f(x)."""
        tril = cholesky(self.features.covariance(kernel))
        return by_columns(solve_lower, tril, self.features.cross(kernel, x))
