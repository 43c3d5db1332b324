"""Variational posteriors of Gaussian processes from a few weighted pseudo-observations."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jensen.core import Compiled, require
from jensen.gp._linalg import solve_lower
from jensen.gp.kernels._fields import as_real, hyperparameter
from jensen.gp.kernels.stationary import as_rows
from jensen.gp.likelihoods import Likelihood


class TemperedCoreset(eqx.Module):
    """q(u) = N(u; 0, Kzz) prod_m N(targets_m; u_m, noise)^weights_m / Z: the posterior of M weighted pseudo-rows.

    With A = Kzz + diag(noise / weights): E f(x) = k_xZ A^-1 targets, var f(x) = k_xx - k_xZ A^-1 k_Zx. M (d + 2)
    numbers instead of the M d + M + M (M + 1) / 2 of a free q(u), and Kzz alone is never factorised. A sub-family of
    the Gaussians over u: at the same z and hyperparameters its bound is at most that of the best q(u) (`Inducing` with
    `CVI`), and `weights` must start near the numbers of rows that a pseudo-row stands for (`coreset_of`).

    `z`: (m, d); `targets`: in units of f; `weights`: positive. `noise`, an argument everywhere, is the variance of a
    Gaussian likelihood, or a free scale for others. For training all are leaves that `Hyperparameters` knows.

    Source: Ketenci, Perotte, Elhadad and Urteaga (2023), A coreset-based, tempered variational posterior for accurate
    and scalable stochastic Gaussian process inference.
    """

    z: Float[Array, "m d"] = hyperparameter(real=True)
    targets: Float[Array, " m"] = hyperparameter(real=True)
    weights: Float[Array, " m"] = hyperparameter()

    def factor(self, kernel: Any, noise: Any) -> tuple[Float[Array, "m m"], Float[Array, "m m"]]:
        """Kzz, and the Cholesky factor of A."""
        k = kernel(self.z, self.z)
        return k, jnp.linalg.cholesky(k + jnp.diag(noise / self.weights))

    @Compiled
    def predict(self, kernel: Any, noise: Any, x: Any) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
        """Mean and variance of f at new inputs."""
        x = as_rows(x)
        _, root = self.factor(kernel, noise)
        half = solve_lower(root, kernel(self.z, x))
        return half.T @ solve_lower(root, self.targets), jnp.maximum(kernel(x) - jnp.sum(half**2, 0), 0.0)

    def divergence(self, kernel: Any, noise: Any) -> Float[Array, ""]:
        """KL(q(u) || p(u)) = [-tr A^-1 K + t^T A^-1 K A^-1 t + log det A - sum log(noise / weights)] / 2, in nats."""
        k, root = self.factor(kernel, noise)
        scaled = solve_lower(root, self.targets)
        back = jax.scipy.linalg.solve_triangular(root, scaled, lower=True, trans=1)
        trace = jnp.trace(jax.scipy.linalg.cho_solve((root, True), k))
        logs = 2 * jnp.sum(jnp.log(jnp.diagonal(root))) - jnp.sum(jnp.log(noise / self.weights))
        return 0.5 * (back @ k @ back - trace + logs)

    def bound(
        self, kernel: Any, likelihood: Likelihood, noise: Any, x: Any, y: Any, num_rows: int | None = None
    ) -> Float[Array, ""]:
        """E_q log p(y | f) - KL(q || p), in nats, at most log p(y).

        Where x and y are a batch of `num_rows` rows their sum is scaled by num_rows / batch: an unbiased estimate.
        """
        mean, variance = self.predict(kernel, noise, x)
        terms = jax.vmap(likelihood.expected)(y, mean[:, None], variance[:, None, None])
        scale = 1.0 if num_rows is None else num_rows / len(terms)
        return scale * jnp.sum(terms) - self.divergence(kernel, noise)


def coreset_of(x: Any, y: Any, num: int, seed: int = 0) -> TemperedCoreset:
    """A coreset to start from: k-means centres, the mean output of their rows, and how many these are.

    Raises `InputError` for fewer than one pseudo-observation or more than rows, and for values that are not finite.
    """
    from scipy.cluster.vq import kmeans2

    x, y = np.asarray(as_rows(x), float), np.asarray(y, float)
    require(1 <= num <= len(x), f"Between 1 and {len(x)} pseudo-observations (one a row at most), got {num}")
    require(bool(np.all(np.isfinite(x)) and np.all(np.isfinite(y))), "Inputs and outputs must be finite")
    scale = np.maximum(x.std(0), 1e-12)
    generator = np.random.default_rng(seed)
    centres, label = kmeans2(x / scale, num, minit="++", seed=generator)  # pyright: ignore[reportCallIssue]
    counts = np.bincount(label, minlength=num)
    full = counts > 0
    means = np.bincount(label, y, minlength=num)[full] / counts[full]
    return TemperedCoreset(as_real(centres[full] * scale), as_real(means), as_real(counts[full]))
