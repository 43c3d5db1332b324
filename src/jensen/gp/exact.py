"""Regression with Gaussian noise, where sites have a closed form: exact, and the collapsed bound of inducing points."""

import abc
import math
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jensen.core import Compiled, Scalar, as_scalar
from jensen.gp._collapsed import Rows, collapsed_bound, inverse_factor, products, whitener
from jensen.gp._linalg import solve_lower, solve_upper
from jensen.gp.kernels.stationary import as_rows
from jensen.gp.priors.inducing import Features, Points

LOG_2PI = math.log(2 * math.pi)


class GaussianRegression(eqx.Module):
    """y = f(x) + N(0, noise), f ~ GP(0, k): evidence (or its bound) and predictions of f."""

    @abc.abstractmethod
    def at(self, parts: dict[str, Any]) -> "GaussianRegression":
        """The same data with other trained parts: `kernel`, `noise`, and `features` where there are some."""

    @abc.abstractmethod
    def log_evidence(self) -> Float[Array, ""]:
        """log p(y), or a lower bound on it, in nats."""

    @abc.abstractmethod
    def predict(self, x: Any) -> tuple[Float[Array, " m"], Float[Array, " m"]]:
        """Mean and variance of f at new inputs."""

    @abc.abstractmethod
    def joint(self, x: Any) -> tuple[Float[Array, " m"], Float[Array, "m m"]]:
        """Mean and joint covariance of f at new inputs."""


class Exact(GaussianRegression):
    """The exact posterior, by the Cholesky factor of K + noise I: O(n^3).

    log p(y) = -1/2 y^T (K + noise I)^-1 y - 1/2 log det(K + noise I) - n/2 log 2 pi.

    `kernel`: of tinygp or jensen.gp.kernels. `noise`: variance. `x`: (n, d) or (n,). `y`: (n,). `present`: rows that
    count (the others pad arrays to a common shape, so that data of other sizes run the same compiled program).
    """

    kernel: Any
    noise: Scalar
    x: Float[Array, "n d"]
    y: Float[Array, " n"]
    present: Bool[Array, " n"]

    def __init__(self, kernel: Any, noise: Any, x: Any, y: Any, present: Any = None):
        self.kernel, self.noise = kernel, as_scalar(noise)
        self.x, self.y = as_rows(x), jnp.asarray(y)
        self.present = jnp.ones(self.y.shape, bool) if present is None else jnp.asarray(present)

    def at(self, parts: dict[str, Any]) -> "Exact":
        return eqx.tree_at(lambda m: (m.kernel, m.noise), self, (parts["kernel"], parts["noise"]))

    def _factor(self) -> Float[Array, "n n"]:
        both = self.present[:, None] & self.present
        k = jnp.where(both, self.kernel(self.x, self.x), 0.0)
        return jnp.linalg.cholesky(k + jnp.diag(jnp.where(self.present, self.noise, 1.0)))

    @Compiled
    def log_evidence(self) -> Float[Array, ""]:
        tril = self._factor()
        white = solve_lower(tril, jnp.where(self.present, self.y, 0.0))
        n = jnp.sum(self.present)
        return -0.5 * white @ white - jnp.sum(jnp.log(jnp.diagonal(tril))) - 0.5 * n * LOG_2PI

    def _half(self, x: Any) -> tuple[Array, Array]:
        tril = self._factor()
        cross = jnp.where(self.present[:, None], self.kernel(self.x, as_rows(x)), 0.0)
        return solve_lower(tril, cross), solve_lower(tril, jnp.where(self.present, self.y, 0.0))

    @Compiled
    def predict(self, x: Any) -> tuple[Float[Array, " m"], Float[Array, " m"]]:
        half, white = self._half(x)
        return half.T @ white, jnp.maximum(self.kernel(as_rows(x)) - jnp.sum(half**2, 0), 0.0)

    @Compiled
    def joint(self, x: Any) -> tuple[Float[Array, " m"], Float[Array, "m m"]]:
        half, white = self._half(x)
        x = as_rows(x)
        return half.T @ white, self.kernel(x, x) - half.T @ half

    @Compiled
    def leave_one_out(self) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
        """Mean and variance of each y_i given all others: y_i - a_i / c_i and 1 / c_i, a = C^-1 y, c = diag C^-1."""
        tril = self._factor()
        inverse = solve_lower(tril, jnp.eye(self.y.shape[0], dtype=tril.dtype))
        precision = jnp.sum(inverse**2, 0)
        weights = solve_upper(tril, solve_lower(tril, jnp.where(self.present, self.y, 0.0)))
        return self.y - weights / precision, 1 / precision


class Collapsed(GaussianRegression):
    """The best q(u) for inducing variables u, in closed form: O(n M^2) time, and memory of a few thousand rows.

    Bound log N(y; 0, Q + noise I) - tr(K - Q) / (2 noise) <= log p(y), Q = Kfu Kuu^-1 Kuf; equal where u determines f
    at x. `features`: inducing points (M, d), or any `Features`. `copies`: how often each row counts; with n / m copies
    a sample of m rows estimates the bound of n, on which training can begin.

    The bound can be differentiated backwards, and forwards after that (a Hessian), but not forwards alone.

    Source: Titsias (2009), Variational learning of inducing variables in sparse Gaussian processes.
    """

    kernel: Any
    noise: Scalar
    x: Float[Array, "n d"]
    y: Float[Array, " n"]
    features: Features
    present: Bool[Array, " n"]
    copies: Scalar

    def __init__(self, kernel: Any, noise: Any, x: Any, y: Any, features: Any, present: Any = None, copies: Any = 1.0):
        self.kernel, self.noise = kernel, as_scalar(noise)
        self.x, self.y = as_rows(x), jnp.asarray(y)
        self.features = features if isinstance(features, Features) else Points(features)
        self.present = jnp.ones(self.y.shape, bool) if present is None else jnp.asarray(present)
        self.copies = as_scalar(copies)

    def at(self, parts: dict[str, Any]) -> "Collapsed":
        new = parts["kernel"], parts["noise"], parts.get("features", self.features)
        return eqx.tree_at(lambda m: (m.kernel, m.noise, m.features), self, new)

    def _parts(self) -> tuple[Array, Array, Array]:
        """L^-1 of Kuu, that of B = I + A A^T / noise with A = L^-1 Kuf, and the mean of the white variables."""
        inverse = whitener(self.kernel, self.features)
        rows = Rows(self.x, self.y, self.present)
        sums = products(self.kernel, self.features, inverse, rows, self.copies)
        half = inverse_factor(jnp.eye(inverse.shape[0], dtype=inverse.dtype) + sums.square / self.noise)
        return inverse, half, half.T @ (half @ sums.pulled) / self.noise

    @Compiled
    def log_evidence(self) -> Float[Array, ""]:
        parts = self.kernel, self.features, self.noise, self.x, self.y
        return collapsed_bound(parts, self.present, self.copies)

    @Compiled
    def predict(self, x: Any) -> tuple[Float[Array, " m"], Float[Array, " m"]]:
        inverse, half, mean = self._parts()
        white = inverse @ self.features.cross(self.kernel, as_rows(x))
        variance = self.kernel(as_rows(x)) - jnp.sum(white**2, 0) + jnp.sum((half @ white) ** 2, 0)
        return mean @ white, jnp.maximum(variance, 0.0)

    @Compiled
    def joint(self, x: Any) -> tuple[Float[Array, " m"], Float[Array, "m m"]]:
        x = as_rows(x)
        inverse, half, mean = self._parts()
        white = inverse @ self.features.cross(self.kernel, x)
        given = half @ white
        return mean @ white, self.kernel(x, x) - white.T @ white + given.T @ given
