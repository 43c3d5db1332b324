"""The multivariate normal family with a sparse precision."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import InputError, PRNGKey, in_batches
from jensen.families._builders import Builder
from jensen.families.bijective import Bijective, log_standard_normal
from jensen.families.gaussian import Gaussian
from jensen.families.sparsity import Elimination, eliminate


class StructuredGaussian(Bijective):
    """N(m, S) with S^-1 = L L^T sparse, L = (I + C) diag(1 / s): s_i is the sd of z_i given those it leans on.

    In the order of `elimination`, z_i = m_i - sum_j C_ji (z_j - m_j) + s_i u_i over the parents j of i, which come
    later. log q = sum_i -log s_i - u_i^2 / 2 - 1/2 log 2 pi. Arrow, banded and block patterns are special cases: two
    coordinates that never meet in a term of the log density need no entry.

    `mean`, `log_scale`: m and log s, shape (d,). `coefficients`: C, shape (d, w), w the most parents of a coordinate.
    `elimination`: who leans on whom. A draw and a density cost O(d w); the steps that must follow one another are as
    many as the levels of the elimination (few for an arrow, d for a chain).

    Source: Tan and Nott (2018), Gaussian variational approximation with sparse precision matrices.
    """

    mean: Float[Array, " d"]
    log_scale: Float[Array, " d"]
    coefficients: Float[Array, "d w"]
    elimination: Elimination

    @property
    def dimension(self) -> int:
        return self.mean.shape[0]

    def transform(self, u: Float[Array, " d"]) -> tuple[Float[Array, " d"], Float[Array, ""]]:
        x = self.elimination.solve(self.coefficients, jnp.exp(self.log_scale) * u)
        return self.mean + x, jnp.sum(self.log_scale)

    def inverse(self, z: Float[Array, " d"]) -> Float[Array, " d"]:
        return jnp.exp(-self.log_scale) * self.elimination.apply(self.coefficients, z - self.mean)

    def log_prob(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        return log_standard_normal(self.inverse(z)) - jnp.sum(self.log_scale)

    def entropy(self) -> Float[Array, ""]:
        """H(q) = d/2 (1 + log 2 pi) + sum log s, in nats."""
        return 0.5 * self.dimension - log_standard_normal(jnp.zeros_like(self.mean)) + jnp.sum(self.log_scale)

    def mean_and_cov(self) -> tuple[Float[Array, " d"], Float[Array, "d d"]]:
        """m and S; forms the d x d matrix, unlike all else here."""
        eye = jnp.diag(jnp.exp(self.log_scale))
        root = jax.vmap(lambda column: self.elimination.solve(self.coefficients, column))(eye)
        return self.mean, root.T @ root

    def config(self) -> dict[str, Any]:
        return {
            "dimension": self.dimension,
            "width": self.coefficients.shape[1],
            "groups": [list(group.shape) for group in self.elimination.groups],
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "StructuredGaussian":
        d, w = int(config["dimension"]), int(config["width"])
        groups = tuple(jnp.full((int(a), int(b)), d, jnp.int32) for a, b in config["groups"])
        return cls(jnp.zeros(d), jnp.zeros(d), jnp.zeros((d, w)), Elimination(jnp.full((d, w), d, jnp.int32), groups))


class Structured(Builder):
    """`StructuredGaussian` of a sparsity pattern: the member nearest to the given Gaussian g in KL(g || q).

    Its coefficients are the regressions of each coordinate on its parents under g, so that a g whose precision has
    the pattern is met exactly.

    `Structured(pattern)` takes the pattern of the precision, a symmetric (d, d) array of booleans; `sparsity(target)`
    derives it. Raises `InputError` for another shape, or if asked for a Gaussian of another dimension.

    Source: the closed form is that of Vecchia's approximation: Schäfer, Katzfuss and Owhadi (2021).
    """

    elimination: Elimination

    def __init__(self, pattern: Any):
        self.elimination = eliminate(pattern)

    def build(self, key: PRNGKey, gaussian: Gaussian) -> StructuredGaussian:
        parents = self.elimination.parents
        if parents.shape[0] != gaussian.dimension:
            raise InputError(f"The pattern has dimension {parents.shape[0]}, the target {gaussian.dimension}")
        coefficients, variances = _regress(gaussian.cov, parents)
        return StructuredGaussian(gaussian.mean, 0.5 * jnp.log(variances), coefficients, self.elimination)


@eqx.filter_jit
def _regress(cov: Float[Array, "d d"], parents: Any) -> tuple[Float[Array, "d w"], Float[Array, " d"]]:
    """Minus the coefficients of each coordinate's regression on its parents, and the variances that are left."""
    d, w = parents.shape

    def one(i: Any, chosen: Any) -> tuple[Float[Array, " w"], Float[Array, ""]]:
        real = chosen < d
        at = jnp.where(real, chosen, 0)
        both = real[:, None] & real[None, :]
        among = jnp.where(both, cov[at][:, at], jnp.eye(w, dtype=cov.dtype))
        across = jnp.where(real, cov[at, i], 0.0)
        weights = jnp.linalg.solve(among, across)
        return -weights, cov[i, i] - weights @ across

    return in_batches(lambda args: one(*args), (jnp.arange(d), parents), 64)
