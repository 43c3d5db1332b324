"""The exact Gaussian-process prior, by a dense Cholesky factor."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.gp._linalg import cholesky, solve_lower
from jensen.gp.priors._white import Design, KernelPrior, Mean, separate, zero_mean


class Dense(KernelPrior):
    """f ~ GP(m, k) at inputs x, exactly: K = L L^T, f = m + L z; O(n^3) time, O(n^2) memory.

    `kernels`: one kernel, or a sequence of k kernels for k independent latent functions (as the scale of a
    heteroscedastic likelihood or the classes of a softmax need). `x`: inputs (n, d) or (n,). `mean`: a mean
    function for all.
    """

    def __init__(self, kernel: Any, x: Any, mean: Mean = zero_mean):
        super().__init__(kernel, x, mean)

    @property
    def dimension(self) -> int:
        return self.num_sites * self.num_values

    def design(self) -> Design:
        n, k = self.num_sites, self.num_values
        weights = separate([cholesky(kernel(self.x, self.x))[:, None] for kernel in self.kernels])
        mean = jnp.broadcast_to(self.mean(self.x)[:, None], (n, k))
        return Design(mean, weights, jnp.zeros((n, k, k), self.x.dtype))

    def half(self, kernel: Any, x: Float[Array, "n d"]) -> Float[Array, "m n"]:
        """L^-1 K(X, x)."""
        return solve_lower(cholesky(kernel(self.x, self.x)), kernel(self.x, x))
