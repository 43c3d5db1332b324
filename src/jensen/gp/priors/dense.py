"""The exact Gaussian-process prior, by a dense Cholesky factor."""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.gp._linalg import cholesky, solve_lower
from jensen.gp.kernels.stationary import as_rows
from jensen.gp.priors._white import Design, WhitePrior, diagonal_blocks, separate

Mean = Callable[[Float[Array, "n d"]], Float[Array, " n"]]


def zero_mean(x: Float[Array, "n d"]) -> Float[Array, " n"]:
    """m(x) = 0."""
    return jnp.zeros(x.shape[0], x.dtype)


class Dense(WhitePrior):
    """f ~ GP(m, k) at inputs x, exactly: K = L L^T, f = m + L z; O(n^3) time, O(n^2) memory.

    `kernels`: one kernel, or a sequence of k kernels for k independent latent functions (as the scale of a
    heteroscedastic likelihood or the classes of a softmax need). `x`: inputs (n, d) or (n,). `means`: a mean function
    for all.
    """

    kernels: tuple[Any, ...]
    x: Float[Array, "n d"]
    mean: Mean = eqx.field(static=True, default=zero_mean)

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

    @property
    def dimension(self) -> int:
        return self.num_sites * self.num_values

    def design(self) -> Design:
        n, k = self.num_sites, self.num_values
        weights = separate([cholesky(kernel(self.x, self.x))[:, None] for kernel in self.kernels])
        mean = jnp.broadcast_to(self.mean(self.x)[:, None], (n, k))
        return Design(mean, weights, jnp.zeros((n, k, k), self.x.dtype))

    def design_at(self, x: Any) -> Design:
        x = as_rows(x)
        blocks, left = [], []
        for kernel in self.kernels:
            half = solve_lower(cholesky(kernel(self.x, self.x)), kernel(self.x, x))
            blocks.append(half.T[:, None])
            left.append(jnp.maximum(kernel(x) - jnp.sum(half**2, 0), 0.0))
        mean = jnp.broadcast_to(self.mean(x)[:, None], (x.shape[0], self.num_values))
        return Design(mean, separate(blocks), diagonal_blocks(jnp.stack(left, 1)))

    def joint_residual(self, x: Any) -> Float[Array, "m k m k"]:
        x = as_rows(x)
        parts = []
        for kernel in self.kernels:
            half = solve_lower(cholesky(kernel(self.x, self.x)), kernel(self.x, x))
            parts.append(kernel(x, x) - half.T @ half)
        return jnp.einsum("kmn,kl->mknl", jnp.stack(parts), jnp.eye(self.num_values, dtype=x.dtype))
