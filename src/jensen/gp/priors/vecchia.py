"""Vecchia's approximation: priors and posteriors whose precisions have sparse Cholesky factors."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jensen.core import GaussianPrior, InputError, Marginals, Sites, in_batches
from jensen.gp._linalg import jitter
from jensen.gp.kernels.stationary import as_rows
from jensen.gp.priors._neighbours import Neighbours, nearest_neighbours, neighbours_from, neighbours_within
from jensen.gp.priors._sparse_factor import BATCH, SparseFactor, closest_factor, incomplete_factor
from jensen.gp.priors._white import Mean, zero_mean

__all__ = ["SparsePosterior", "Vecchia", "nearest_neighbours", "neighbours_from", "neighbours_within"]

MAX_ITERATIONS = 200  # of conjugate gradients, preconditioned by the posterior's own factor: about ten are used


class SparsePosterior(eqx.Module):
    """q(f) = N(mean, (V V^T)^-1) over the values at the sites, in the prior's own order.

    `mean`: (n,), the prior mean included. `factor`: V, with the prior's pattern. `prior`: U.
    """

    mean: Float[Array, " n"]
    factor: SparseFactor
    prior: SparseFactor


class Vecchia(GaussianPrior):
    """f ~ N(m, (U U^T)^-1): column i of U = K_ss^-1 e_i / sqrt(e_i^T K_ss^-1 e_i), s = i and its parents.

    U is the factor of its pattern nearest to the exact prior in KL(exact || .). Conditioning gives the mean by
    conjugate gradients and V, of the same pattern, by an incomplete Cholesky factorisation of U U^T + P. Time
    O(n (w^3 + q w)) and memory O(n (w + q)), w parents and q ancestors a point (both constant but for logarithms):
    never n x n. Exact where the parents of a point are parents of each other and hold all that it depends on (a chain;
    everything).

    The bound of `CVI` on it is one on the evidence under *this* prior, up to the noise of points beyond the ancestors
    (a relative 1e-4 of the variances at the default radius). That evidence may lie above or below that of the exact
    prior, so that it is no bound on log p(y). Best for stationary kernels of low smoothness and few inputs; for very
    smooth kernels or d > 5 inducing points need less.

    `neighbours`: a pattern of `nearest_neighbours`, `neighbours_within` or `neighbours_from`, or the number of nearest
    ones; then distances are measured in the kernel's lengthscales where it has some. Raises `InputError` for coinciding
    inputs.

    Source: Cao, Kang, Jimenez, Sang, Schäfer and Katzfuss (2023), Variational sparse inverse Cholesky approximation for
    latent Gaussian processes via double Kullback-Leibler minimization.
    """

    kernel: Any
    x: Float[Array, "n d"]
    neighbours: Neighbours
    mean: Mean = eqx.field(static=True, default=zero_mean)

    def __init__(self, kernel: Any, x: Any, neighbours: Neighbours | int = 16, mean: Mean = zero_mean):
        rows = as_rows(jnp.asarray(x, jnp.result_type(float)))
        if isinstance(neighbours, int):
            neighbours = nearest_neighbours(rows, neighbours, getattr(kernel, "lengthscale", 1.0))
        if neighbours.points.shape[0] != rows.shape[0]:
            raise InputError(f"The pattern is of {neighbours.points.shape[0]} inputs, and there are {rows.shape[0]}")
        self.kernel, self.mean, self.neighbours = kernel, mean, neighbours
        self.x = rows[neighbours.order]

    @property
    def num_sites(self) -> int:
        return self.x.shape[0]

    @property
    def dimension(self) -> int:
        return self.num_sites

    def factor(self) -> SparseFactor:
        """U."""
        n, parents = self.num_sites, self.neighbours.elimination.parents
        seen = jnp.concatenate([jnp.where(parents < n, parents, 0), jnp.arange(n)[:, None]], 1)
        return closest_factor(in_batches(self.covariance, self.x[seen], BATCH), parents, n)

    def covariance(self, x: Float[Array, "m d"]) -> Float[Array, "m m"]:
        """K of a few inputs, with the jitter of a noise-free covariance."""
        k = self.kernel(x, x)
        return k + jitter(k) * jnp.eye(k.shape[0], dtype=k.dtype)

    def posterior(self, sites: Sites) -> SparsePosterior:
        """q, mean exact up to rounding and V the incomplete factor."""
        order, tree, factor = self.neighbours.order, self.neighbours.elimination, self.factor()
        linear, added = sites.linear[order, 0], sites.precision[order, 0, 0]
        centre = self.mean(self.x)
        v = incomplete_factor(factor, added, tree.parents)
        shift, _ = jax.scipy.sparse.linalg.cg(
            lambda f: factor.precision(tree, f) + added * f,
            linear - added * centre,
            tol=float(jnp.finfo(linear.dtype).eps) * 10,
            maxiter=MAX_ITERATIONS,
            M=lambda b: v.solved(tree, b),
        )
        return SparsePosterior(centre + shift, v, factor)

    def terms(self, q: SparsePosterior, rows: Int[Array, " b"]) -> tuple[Float[Array, " b"], Float[Array, " b"]]:
        """var f_i under q and the i-th term of KL(q || prior), for some places i of the order.

        The terms are ((U_i^T (m_q - m))^2 + |V^-1 U_i|^2 - 1) / 2 + log(V_ii / U_ii): n / b times a random b of them is
        an unbiased estimate of the divergence, at a cost that does not grow with n once U is known there.
        """
        pulled = q.prior.pulled(self.neighbours.elimination, q.mean - self.mean(self.x))[rows]
        spread = in_batches(lambda i: q.factor.spread_at(self.neighbours, q.prior, i), rows, BATCH)
        logs = jnp.log(q.prior.scales[rows]) - jnp.log(q.factor.scales[rows])
        return spread[:, 0], 0.5 * (pulled**2 + spread[:, 1] - 1) + logs

    def moments(self, q: SparsePosterior) -> tuple[Float[Array, " n"], Float[Array, " n"], Float[Array, ""]]:
        """Means and variances of f under q at the sites, in the order given, and KL(q || prior) in nats."""
        variance, divergences = self.terms(q, jnp.arange(self.num_sites))
        back = jnp.argsort(self.neighbours.order)
        return q.mean[back], variance[back], jnp.sum(divergences)

    @eqx.filter_jit  # outside a compiled program its loops would be compiled one by one, each time
    def condition(self, sites: Sites) -> Marginals:
        """`log_normaliser` is the bound E_q[log t] - KL(q || prior), which is the normaliser where V is exact."""
        mean, variance, divergence = self.moments(self.posterior(sites))
        mean, cov = mean[:, None], variance[:, None, None]
        bound = jnp.sum(sites.expected_log(mean, cov)) - divergence
        return Marginals(mean, cov, jnp.zeros_like(cov), bound)

    @eqx.filter_jit
    def predict(self, sites: Sites, x: Any) -> tuple[Float[Array, "m k"], Float[Array, "m k k"]]:
        return self.predict_from(self.posterior(sites), x)

    def predict_from(self, q: SparsePosterior, x: Any) -> tuple[Float[Array, "m k"], Float[Array, "m k k"]]:
        """Means and variances of f under q at new inputs, each put last in the order, on its own nearest sites."""
        x = as_rows(jnp.asarray(x, self.x.dtype))
        near, n = self.neighbours, self.num_sites
        parents = near.elimination.parents
        width, most = parents.shape[1], near.ancestors.shape[1]

        def one(new: Float[Array, " d"]) -> tuple[Float[Array, ""], Float[Array, ""]]:
            away = jnp.linalg.norm(near.points - new / near.scale, axis=1)
            _, own = jax.lax.top_k(-away, width)
            here = jnp.concatenate([self.x[own], new[None]])
            last = jnp.full((1, width), 0).at[0].set(jnp.arange(width))
            alone = closest_factor(self.covariance(here)[None], last, width)
            ratio = (away / near.lengths).at[own].set(-1.0)
            least, found = jax.lax.top_k(-ratio, most)
            ancestors = jnp.sort(jnp.where(-least <= near.radius, found, n))
            places = jnp.searchsorted(ancestors, own)
            weights = jnp.zeros((most, 1), x.dtype).at[places, 0].set(-alone.coefficients[0])
            variance = q.factor.variance(parents, ancestors, weights)[0] + alone.scales[0] ** 2
            return -alone.coefficients[0] @ (q.mean - self.mean(self.x))[own], variance

        mean, variance = in_batches(one, x, 64)
        return (self.mean(x) + mean)[:, None], variance[:, None, None]

    def from_white(self, z: Float[Array, " d"]) -> tuple[Float[Array, "n k"], Float[Array, "n k k"]]:
        f = self.mean(self.x) + self.factor().drawn(self.neighbours.elimination, z)
        return f[jnp.argsort(self.neighbours.order)][:, None], jnp.zeros((self.num_sites, 1, 1), self.x.dtype)
