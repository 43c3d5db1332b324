"""Priors whose latent values are affine in white coordinates: dense and inducing-point ones."""

import abc
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import GaussianPrior, Marginals, Sites
from jensen.gp._linalg import solve_lower, solve_upper
from jensen.gp.kernels.stationary import as_rows

Mean = Callable[[Float[Array, "n d"]], Float[Array, " n"]]


def zero_mean(x: Float[Array, "n d"]) -> Float[Array, " n"]:
    """m(x) = 0."""
    return jnp.zeros(x.shape[0], x.dtype)


class Design(eqx.Module):
    """f_i = mean_i + weights_i z + N(0, residual_i), z ~ N(0, I_d)."""

    mean: Float[Array, "n k"]
    weights: Float[Array, "n k d"]
    residual: Float[Array, "n k k"]

    def values(self, z_mean: Float[Array, " d"], root: Float[Array, "d r"]) -> tuple[Array, Array]:
        """Means (n, k) and covariances (n, k, k) of f for z ~ N(z_mean, root root^T)."""
        spread = jnp.einsum("nkd,dr->nkr", self.weights, root)
        return self.mean + self.weights @ z_mean, spread @ jnp.swapaxes(spread, 1, 2) + self.residual


class WhitePrior(GaussianPrior):
    """f at any inputs is mean + A z + residual with z ~ N(0, I): subclasses give the design A.

    Conditioning costs n k d^2 + d^3: q(z) has precision I + sum_i A_i^T P_i A_i.
    """

    @abc.abstractmethod
    def design(self) -> Design:
        """At the sites."""

    @abc.abstractmethod
    def design_at(self, x: Any) -> Design:
        """At new inputs."""

    def white_posterior(self, sites: Sites, design: Design) -> tuple[Array, Array, Array]:
        """Mean of z under q, root of its covariance (root root^T), log normaliser of prior times sites."""
        n, k, d = design.weights.shape
        weights, mean = design.weights.reshape(n * k, d), design.mean
        pulled = jnp.einsum("nij,njd->nid", sites.precision, design.weights).reshape(n * k, d)
        linear = sites.linear - jnp.einsum("nij,nj->ni", sites.precision, mean)
        constant = jnp.sum(sites.linear * mean) - 0.5 * jnp.einsum("ni,nij,nj->", mean, sites.precision, mean)
        tril = jnp.linalg.cholesky(jnp.eye(d, dtype=weights.dtype) + weights.T @ pulled)
        half = solve_lower(tril, weights.T @ linear.reshape(-1))
        log_normaliser = constant + 0.5 * half @ half - jnp.sum(jnp.log(jnp.diagonal(tril)))
        root = solve_upper(tril, jnp.eye(d, dtype=weights.dtype))
        return solve_upper(tril, half), root, log_normaliser

    def condition(self, sites: Sites) -> Marginals:
        design = self.design()
        z_mean, root, log_normaliser = self.white_posterior(sites, design)
        mean, cov = design.values(z_mean, root)
        return Marginals(mean, cov, design.residual, log_normaliser)

    def predict(self, sites: Sites, x: Any) -> tuple[Float[Array, "m k"], Float[Array, "m k k"]]:
        z_mean, root, _ = self.white_posterior(sites, self.design())
        return self.design_at(x).values(z_mean, root)

    def from_white(self, z: Float[Array, " d"]) -> tuple[Float[Array, "n k"], Float[Array, "n k k"]]:
        design = self.design()
        return design.mean + design.weights @ z, design.residual

    def predict_white(
        self, mean: Float[Array, " d"], root: Float[Array, "d r"], x: Any
    ) -> tuple[Float[Array, "m k"], Float[Array, "m k k"]]:
        return self.design_at(x).values(mean, root)

    def joint(self, sites: Sites, x: Any) -> tuple[Float[Array, "m k"], Float[Array, "m k m k"]]:
        """Mean and joint covariance of f at new inputs under q."""
        z_mean, root, _ = self.white_posterior(sites, self.design())
        design = self.design_at(x)
        spread = jnp.einsum("nkd,dr->nkr", design.weights, root)
        inner = jnp.einsum("nkr,mlr->nkml", spread, spread)
        return design.mean + design.weights @ z_mean, inner + self.joint_residual(x)

    @abc.abstractmethod
    def joint_residual(self, x: Any) -> Float[Array, "m k m k"]:
        """Covariance of f at new inputs given z."""


class KernelPrior(WhitePrior):
    """k independent functions f_j = m + half_j^T z_j + residual, one kernel each: subclasses say what z is.

    `kernels`: k of them. `x`: inputs of the sites (n, d). `mean`: a mean function for all.
    """

    kernels: tuple[Any, ...]
    x: Float[Array, "n d"] = eqx.field(metadata={"fixed": True})
    mean: Mean = eqx.field(static=True)

    def __init__(self, kernel: Any, x: Any, mean: Mean = zero_mean):
        self.kernels = tuple(kernel) if isinstance(kernel, Sequence) else (kernel,)
        self.x = as_rows(jnp.asarray(x, jnp.result_type(float)))
        self.mean = mean

    @property
    def num_sites(self) -> int:
        return self.x.shape[0]

    @property
    def num_values(self) -> int:
        return len(self.kernels)

    @abc.abstractmethod
    def half(self, kernel: Any, x: Float[Array, "n d"]) -> Float[Array, "m n"]:
        """Cov(z_j, f_j(x))."""

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


def separate(blocks: list[Array]) -> Array:
    """Weights (n, 1, d_j) of k independent functions as one (n, k, sum d_j): each value sees its own part of z."""
    rows = []
    for j, block in enumerate(blocks):
        parts = [block[:, 0] if i == j else jnp.zeros((block.shape[0], b.shape[2])) for i, b in enumerate(blocks)]
        rows.append(jnp.concatenate(parts, 1))
    return jnp.stack(rows, 1)


def diagonal_blocks(values: Float[Array, "n k"]) -> Float[Array, "n k k"]:
    """diag(values_i) for each i."""
    return jax.vmap(jnp.diag)(values)
