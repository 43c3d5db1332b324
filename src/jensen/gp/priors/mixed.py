"""Several outputs: linear mixtures of independent latent functions, over any prior."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import GaussianPrior, Marginals, MissingCapability, Sites, require
from jensen.gp._linalg import jitter
from jensen.gp.kernels._fields import as_real


class Mixed(GaussianPrior):
    """f_i = W g_i, g the q independent functions of any other prior: the linear model of coregionalisation (LMC).

    cov(f_a(x), f_b(x')) = sum_j W_aj W_bj k_j(x, x'). With one kernel for all g_j it is the intrinsic model (ICM)
    with B = W W^T; for parts of the outputs' own, W = [loadings, diag(sqrt(kappa))] and q + k kernels. Sites on f are
    sites on g, W^T l and W^T P W, so that conditioning costs what the inner prior's does, and works over all of
    them: `Mixed(Dense([k1, k2], x), W)`, `Mixed(StateSpace([k1, k2], t), W)`. Every site sees all k values; where a
    row observes one output only, take the `Coregion` kernel.

    `prior`: of q functions. `mixing`: W, (k, q), trained as real numbers. Scales of W and variances of the kernels are
    known only as products: fix one of them. For q < k the covariance of f_i gets the jitter of `jensen.gp` on its
    diagonal. Raises `InputError` for a mixing of another width.

    Source: Journel and Huijbregts (1978); Alvarez, Rosasco and Lawrence (2012), Kernels for vector-valued functions: a
    review.
    """

    prior: GaussianPrior
    mixing: Float[Array, "k q"] = eqx.field(converter=as_real, metadata={"real": True})

    def __check_init__(self) -> None:
        shape, wanted = jnp.shape(self.mixing), self.prior.num_values
        require(
            len(shape) == 2 and shape[1] == wanted,
            f"The mixing must have a row for each output and {wanted} columns, one for each latent function of the "
            f"prior, got shape {shape}",
        )

    @property
    def num_sites(self) -> int:
        return self.prior.num_sites

    @property
    def num_values(self) -> int:
        return self.mixing.shape[0]

    @property
    def dimension(self) -> int:
        return self.prior.dimension

    def condition(self, sites: Sites) -> Marginals:
        found = self.prior.condition(self._pulled(sites))
        residual = self._spread(found.residual)
        return Marginals(found.mean @ self.mixing.T, self._firm(found.cov), residual, found.log_normaliser)

    def predict(self, sites: Sites, x: Any) -> tuple[Float[Array, "m k"], Float[Array, "m k k"]]:
        mean, cov = self.prior.predict(self._pulled(sites), x)
        return mean @ self.mixing.T, self._firm(cov)

    def from_white(self, z: Float[Array, " d"]) -> tuple[Float[Array, "n k"], Float[Array, "n k k"]]:
        mean, residual = self.prior.from_white(z)
        return mean @ self.mixing.T, self._spread(residual)

    def joint(self, sites: Sites, x: Any) -> tuple[Float[Array, "m k"], Float[Array, "m k m k"]]:
        """Mean and joint covariance of f at new inputs; raises `MissingCapability` where the inner prior has none."""
        inner = getattr(self.prior, "joint", None)
        if inner is None:
            raise MissingCapability(f"{type(self.prior).__name__} has no joint covariance: use `predict`")
        mean, cov = inner(self._pulled(sites), x)
        return mean @ self.mixing.T, jnp.einsum("ai,minj,bj->manb", self.mixing, cov, self.mixing)

    def _pulled(self, sites: Sites) -> Sites:
        """The sites on g."""
        return Sites(sites.linear @ self.mixing, self.mixing.T @ sites.precision @ self.mixing)

    def _spread(self, cov: Float[Array, "n q q"]) -> Float[Array, "n k k"]:
        return self.mixing @ cov @ self.mixing.T

    def _firm(self, cov: Float[Array, "n q q"]) -> Float[Array, "n k k"]:
        """W cov W^T; of full rank, which rules that divide sites out (EP) need."""
        spread, (k, q) = self._spread(cov), self.mixing.shape
        if q >= k:
            return spread
        return spread + jitter(spread)[:, None, None] * jnp.eye(k, dtype=spread.dtype)
