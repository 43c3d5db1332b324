"""Gaussian processes given their data: what predictions need of a pass over all rows, made once."""

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jensen.gp._linalg import solve_lower
from jensen.gp.kernels.stationary import as_rows


class ConditionedExact(eqx.Module):
    """f given y = f(x) + noise, by K + noise I = L L^T: O(n m) for means and O(n^2 m) for variances at m inputs.

    `tril`: L. `white`: L^-1 y. `present`: rows that count.
    """

    pointwise: ClassVar[bool] = True
    kernel: Any
    x: Float[Array, "n d"]
    present: Bool[Array, " n"]
    tril: Float[Array, "n n"]
    white: Float[Array, " n"]

    def _half(self, x: Float[Array, "m d"]) -> Float[Array, "n m"]:
        return solve_lower(self.tril, jnp.where(self.present[:, None], self.kernel(self.x, x), 0.0))

    def predict(self, x: Any) -> tuple[Float[Array, " m"], Float[Array, " m"]]:
        """Mean and variance of f at new inputs."""
        x = as_rows(x)
        half = self._half(x)
        return half.T @ self.white, jnp.maximum(self.kernel(x) - jnp.sum(half**2, 0), 0.0)

    def joint(self, x: Any) -> tuple[Float[Array, " m"], Float[Array, "m m"]]:
        """Mean and joint covariance of f at new inputs."""
        x = as_rows(x)
        half = self._half(x)
        return half.T @ self.white, self.kernel(x, x) - half.T @ half


class ConditionedCollapsed(eqx.Module):
    """f given y by M inducing variables: O(M^2 m) at m inputs, whatever the number of rows was.

    `inverse`: L^-1 with Kuu = L L^T, that makes the variables white. `half`: H with H^T H the covariance of the white
    ones given y. `mean`: their mean.
    """

    pointwise: ClassVar[bool] = True
    kernel: Any
    features: Any
    inverse: Float[Array, "k k"]
    half: Float[Array, "k k"]
    mean: Float[Array, " k"]

    def predict(self, x: Any) -> tuple[Float[Array, " m"], Float[Array, " m"]]:
        """Mean and variance of f at new inputs."""
        x = as_rows(x)
        white = self.inverse @ self.features.cross(self.kernel, x)
        variance = self.kernel(x) - jnp.sum(white**2, 0) + jnp.sum((self.half @ white) ** 2, 0)
        return self.mean @ white, jnp.maximum(variance, 0.0)

    def joint(self, x: Any) -> tuple[Float[Array, " m"], Float[Array, "m m"]]:
        """Mean and joint covariance of f at new inputs."""
        x = as_rows(x)
        white = self.inverse @ self.features.cross(self.kernel, x)
        given = self.half @ white
        return self.mean @ white, self.kernel(x, x) - white.T @ white + given.T @ given
