"""Sparse priors: f seen through M inducing variables, ordinary values f(Z) or any linear functionals of f."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.gp._linalg import cholesky, solve_lower
from jensen.gp.kernels._fields import Numbers, hyperparameter
from jensen.gp.kernels.stationary import as_rows
from jensen.gp.priors._white import Design, WhitePrior, diagonal_blocks, separate
from jensen.gp.priors.dense import Mean, zero_mean


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


class Inducing(WhitePrior):
    """f = Kfu Kuu^-1 u + residual, u = L z with Kuu = L L^T; the sites act on E[f_i | u] (Titsias 2009).

    The exact GP's variational approximation with M inducing variables: O(N M^2 + M^3) time, O(N M) memory; with Z = X
    it
    is the exact prior. `kernel`: one kernel or k of them for k independent latent functions that share the features.
    The bound of `CVI` on it is a bound on the exact evidence.
    """

    kernels: tuple[Any, ...]
    x: Float[Array, "n d"]
    features: Features
    mean: Mean = eqx.field(static=True, default=zero_mean)

    def __init__(self, kernel: Any, x: Any, features: Any, mean: Mean = zero_mean):
        self.kernels = tuple(kernel) if isinstance(kernel, list | tuple) else (kernel,)
        self.x = as_rows(jnp.asarray(x, jnp.result_type(float)))
        self.features = features if isinstance(features, Features) else Points(features)
        self.mean = mean

    @property
    def num_sites(self) -> int:
        return self.x.shape[0]

    @property
    def num_values(self) -> int:
        return len(self.kernels)

    @property
    def dimension(self) -> int:
        size = jax.eval_shape(lambda: self.features.covariance(self.kernels[0])).shape[0]
        return size * self.num_values

    def half(self, kernel: Any, x: Float[Array, "n d"]) -> Float[Array, "m n"]:
        """L^-1 Kuf: the white inducing variables' covariance with f(x)."""
        return solve_lower(cholesky(self.features.covariance(kernel)), self.features.cross(kernel, x))

    def design(self) -> Design:
        return self.design_at(self.x)

    def design_at(self, x: Any) -> Design:
        x = as_rows(x)
        halves = [self.half(kernel, x) for kernel in self.kernels]
        left = [
            jnp.maximum(kernel(x) - jnp.sum(half**2, 0), 0.0) for kernel, half in zip(self.kernels, halves, strict=True)
        ]
        mean = jnp.broadcast_to(self.mean(x)[:, None], (x.shape[0], self.num_values))
        return Design(mean, separate([half.T[:, None] for half in halves]), diagonal_blocks(jnp.stack(left, 1)))

    def joint_residual(self, x: Any) -> Float[Array, "m k m k"]:
        x = as_rows(x)
        halves = [self.half(kernel, x) for kernel in self.kernels]
        parts = [kernel(x, x) - half.T @ half for kernel, half in zip(self.kernels, halves, strict=True)]
        return jnp.einsum("kmn,kl->mknl", jnp.stack(parts), jnp.eye(self.num_values, dtype=x.dtype))
