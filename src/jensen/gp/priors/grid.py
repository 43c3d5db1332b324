"""Product kernels on grids, some cells observed: eigenvectors of the axes instead of the covariance of all cells."""

import functools
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jensen.core import GaussianPrior, Marginals, Sites, in_batches, require
from jensen.gp._linalg import jitter, solve_lower, solve_upper
from jensen.gp.kernels.stationary import as_rows
from jensen.gp.kronecker import check_axes, kronecker_matvec
from jensen.gp.priors._white import Mean, zero_mean

MAX_ITERATIONS = 500  # of conjugate gradients, preconditioned by the covariance of q
BATCH = 64  # new inputs worked through at once


class GridPosterior(eqx.Module):
    """q(z) over the N white coordinates of f = m + V L^(1/2) z, V the eigenvectors and L the eigenvalues of K.

    `mean`: (N,). `lead`: the numbers of the coordinates with a full covariance. `root`: R of it, R R^T. `rest`: the
    variances of the others, 0 for those of `lead`. `vectors`, `roots`: V_j of each axis; L^(1/2), (n_1, ..., n_D).
    `divergence`: KL(q || prior) in nats.
    """

    mean: Float[Array, " N"]
    lead: Int[Array, " r"]
    root: Float[Array, "r r"]
    rest: Float[Array, " N"]
    vectors: tuple[Array, ...]
    roots: Array
    divergence: Float[Array, ""]


class Grid(GaussianPrior):
    """f ~ GP(m, prod_j k_j(x_j, x'_j)) on the grid of `axes`, with sites on all of its N cells or some of them.

    K = V L V^T has the Kronecker product of the axes' eigenvectors, so that nothing N x N is made: time
    O(N (sum_j n_j + rank^2) + sum_j n_j^3), memory O(N rank). Given sites the **mean is exact** (conjugate gradients
    in z, f = m + V L^(1/2) z). The covariance is the best, in KL(q || prior times sites), of those that are free among
    the `rank` leading z and independent for the rest, in closed form. It is **exact** where the sites have one common
    precision on all cells (regression with constant noise, at any rank), and at rank N. Else `log_normaliser` is the
    bound E_q[log t] - KL(q || prior): with `CVI` a lower bound on log p(y), at the best q of this form; the mode of
    `SiteLaplace` is exact, its variances and those of `EP` approach the dense ones as the rank grows. It needs to be
    about the number of eigenvalues of K above 1 over the precision of a site (100 for 10,000 Poisson counts and an
    `RBF` of a fifth of the range: 1e-4 nats from the limit), so that rough kernels want a state-space or Vecchia prior.

    `kernels`: one for each axis. `axes`: coordinates (n_j,) of each. `cells`: None for all cells in the order of
    `reshape(-1)`; a boolean grid of those observed; or their numbers (n,), repeated ones too. Cells without a site are
    predicted at their coordinates. `rank`: cut at N. One latent value a site; for several functions take a task axis.

    Raises `InputError` for axes that do not fit the kernels, cells that are not there, or a rank below 1.

    Source: for the eigenform Saatci (2011), Scalable inference for structured Gaussian process models; other bounds for
    precisions that vary: Flaxman, Wilson, Neill, Nickisch and Smola (2015), Fast Kronecker inference in Gaussian
    processes with non-Gaussian likelihoods.
    """

    kernels: tuple[Any, ...]
    axes: tuple[Array, ...] = eqx.field(metadata={"fixed": True})
    cells: Int[Array, " n"]
    rank: int = eqx.field(static=True, default=128)
    mean: Mean = eqx.field(static=True, default=zero_mean)

    def __init__(
        self, kernels: Sequence[Any], axes: Sequence[Any], cells: Any = None, rank: int = 128, mean: Mean = zero_mean
    ):
        check_axes(kernels, axes)
        require(rank >= 1, f"The rank must be 1 or more, got {rank}")
        self.kernels = tuple(kernels)
        self.axes = tuple(jnp.asarray(x, jnp.result_type(float)) for x in axes)
        size = int(np.prod(self.shape))
        self.cells = jnp.asarray(_numbers(cells, self.shape, size), jnp.int32)
        self.rank, self.mean = min(rank, size), mean

    @property
    def shape(self) -> tuple[int, ...]:
        """(n_1, ..., n_D)."""
        return tuple(len(x) for x in self.axes)

    @property
    def num_sites(self) -> int:
        return self.cells.shape[0]

    @property
    def dimension(self) -> int:
        return int(np.prod(self.shape))

    def spectrum(self) -> tuple[tuple[Array, ...], Array]:
        """V_j of each axis, and the square roots of the eigenvalues of K as a grid; jitter on each axis."""
        values, vectors = [], []
        for kernel, x in zip(self.kernels, self.axes, strict=True):
            k = kernel(as_rows(x), as_rows(x))
            e, v = _eigh(k)
            values.append(jnp.sqrt(jnp.maximum(e, 0.0) + jitter(k)))
            vectors.append(v)
        return tuple(vectors), functools.reduce(jnp.multiply.outer, values)

    def centre(self) -> Float[Array, " N"]:
        """m at all cells."""
        return self.mean(jnp.stack(jnp.meshgrid(*self.axes, indexing="ij"), -1).reshape(-1, len(self.axes)))

    def posterior(self, sites: Sites) -> GridPosterior:
        """q."""
        vectors, roots = self.spectrum()
        zero = jnp.zeros(self.dimension, roots.dtype)
        weight = zero.at[self.cells].add(sites.precision[:, 0, 0])
        linear = zero.at[self.cells].add(sites.linear[:, 0]) - weight * self.centre()
        _, lead = jax.lax.top_k(roots.reshape(-1), self.rank)
        functions = self._functions(vectors, roots, lead)
        tril = jnp.linalg.cholesky(jnp.eye(self.rank, dtype=zero.dtype) + (functions.T * weight) @ functions)
        squares = kronecker_matvec([v.T**2 for v in vectors], weight.reshape(self.shape))
        precision = (1 + roots**2 * squares).reshape(-1).at[lead].set(jnp.inf)
        down = [v.T for v in vectors]

        def inverse_covariance(z: Array) -> Array:
            f = kronecker_matvec(vectors, roots * z.reshape(self.shape)).reshape(-1)
            return z + (roots * kronecker_matvec(down, (weight * f).reshape(self.shape))).reshape(-1)

        def covariance(z: Array) -> Array:
            return (z / precision).at[lead].set(solve_upper(tril, solve_lower(tril, z[lead])))

        pulled = (roots * kronecker_matvec(down, linear.reshape(self.shape))).reshape(-1)
        tolerance = 1e3 * float(jnp.finfo(zero.dtype).eps)
        mean, _ = jax.scipy.sparse.linalg.cg(
            inverse_covariance, pulled, tol=tolerance, maxiter=MAX_ITERATIONS, M=covariance
        )
        root = solve_upper(tril, jnp.eye(self.rank, dtype=zero.dtype))
        logs = 2 * jnp.sum(jnp.log(jnp.diagonal(tril))) + jnp.sum(jnp.log(precision.at[lead].set(1.0)))
        spread = jnp.sum(root**2) + jnp.sum(1 / precision)
        divergence = 0.5 * (spread + mean @ mean - self.dimension + logs)
        return GridPosterior(mean, lead, root, 1 / precision, vectors, roots, divergence)

    def moments(self, q: GridPosterior) -> tuple[Float[Array, " N"], Float[Array, " N"]]:
        """Means and variances of f under q at all cells."""
        mean = kronecker_matvec(q.vectors, q.roots * q.mean.reshape(self.shape)).reshape(-1)
        left = q.roots**2 * q.rest.reshape(self.shape)
        rest = kronecker_matvec([v**2 for v in q.vectors], left).reshape(-1)
        spread = jnp.sum((self._functions(q.vectors, q.roots, q.lead) @ q.root) ** 2, 1)
        return self.centre() + mean, spread + rest

    @eqx.filter_jit  # outside a compiled program its loop would be compiled each time
    def condition(self, sites: Sites) -> Marginals:
        q = self.posterior(sites)
        mean, variance = (a[self.cells] for a in self.moments(q))
        mean, cov = mean[:, None], variance[:, None, None]
        bound = jnp.sum(sites.expected_log(mean, cov)) - q.divergence
        return Marginals(mean, cov, jnp.zeros_like(cov), bound)

    @eqx.filter_jit
    def predict(self, sites: Sites, x: Any) -> tuple[Float[Array, "m k"], Float[Array, "m k k"]]:
        """At any inputs (m, D), on the grid or not."""
        q, x = self.posterior(sites), self._inputs(x)

        def one(row: Float[Array, " d"]) -> tuple[Array, Array]:
            weights, variance = self._weights(q, row)
            spread = jnp.sum((weights[q.lead] @ q.root) ** 2) + jnp.sum(weights**2 * q.rest)
            return weights @ q.mean, spread + jnp.maximum(variance - jnp.sum(weights**2), 0.0)

        mean, variance = in_batches(one, x, BATCH)
        return (self.mean(x) + mean)[:, None], variance[:, None, None]

    @eqx.filter_jit
    def joint(self, sites: Sites, x: Any) -> tuple[Float[Array, "m k"], Float[Array, "m k m k"]]:
        """Mean and joint covariance of f at inputs (m, D) under q; memory m N."""
        q, x = self.posterior(sites), self._inputs(x)
        weights, _ = in_batches(functools.partial(self._weights, q), x, BATCH)
        columns = [x[:, j, None] for j in range(x.shape[1])]
        prior = functools.reduce(jnp.multiply, [k(a, a) for k, a in zip(self.kernels, columns, strict=True)])
        spread = weights[:, q.lead] @ q.root
        cov = spread @ spread.T + (weights * (q.rest - 1)) @ weights.T + prior
        return (self.mean(x) + weights @ q.mean)[:, None], cov[:, None, :, None]

    @eqx.filter_jit
    def from_white(self, z: Float[Array, " d"]) -> tuple[Float[Array, "n k"], Float[Array, "n k k"]]:
        vectors, roots = self.spectrum()
        f = self.centre() + kronecker_matvec(vectors, roots * z.reshape(self.shape)).reshape(-1)
        return f[self.cells][:, None], jnp.zeros((self.num_sites, 1, 1), f.dtype)

    def _functions(self, vectors: Sequence[Array], roots: Array, lead: Int[Array, " r"]) -> Float[Array, "N r"]:
        """The columns `lead` of V L^(1/2)."""
        columns = jnp.ones((1, lead.shape[0]), roots.dtype)
        for v, j in zip(vectors, jnp.unravel_index(lead, self.shape), strict=True):
            columns = (columns[:, None] * v[:, j]).reshape(-1, lead.shape[0])
        return columns * roots.reshape(-1)[lead]

    def _weights(self, q: GridPosterior, row: Float[Array, " d"]) -> tuple[Float[Array, " N"], Float[Array, ""]]:
        """Cov(z, f(x)) and var f(x) under the prior."""
        across = [
            v.T @ kernel(as_rows(x), row[j].reshape(1, 1))[:, 0]
            for j, (kernel, x, v) in enumerate(zip(self.kernels, self.axes, q.vectors, strict=True))
        ]
        own = [kernel(row[j].reshape(1, 1))[0] for j, kernel in enumerate(self.kernels)]
        weights = (functools.reduce(jnp.multiply.outer, across) / q.roots).reshape(-1)
        return weights, functools.reduce(jnp.multiply, own)

    def _inputs(self, x: Any) -> Float[Array, "m d"]:
        rows = as_rows(jnp.asarray(x, self.axes[0].dtype))
        require(rows.shape[1] == len(self.axes), f"New inputs must be (m, {len(self.axes)}), got {rows.shape}")
        return rows


def _numbers(cells: Any, shape: tuple[int, ...], size: int) -> np.ndarray:
    if cells is None:
        return np.arange(size)
    cells = np.asarray(cells)
    if cells.dtype == bool:
        require(cells.shape == shape, f"The observed cells must be a grid of shape {shape}, got {cells.shape}")
        cells = np.flatnonzero(cells)
    whole = cells.ndim == 1 and np.issubdtype(cells.dtype, np.integer)
    require(
        whole and cells.size > 0 and bool(cells.min() >= 0 and cells.max() < size),
        f"Cells are a boolean grid of shape {shape}, or one or more numbers 0 to {size - 1}",
    )
    return cells


@jax.custom_jvp
def _eigh(k: Float[Array, "n n"]) -> tuple[Float[Array, " n"], Float[Array, "n n"]]:
    """Eigenvalues and vectors; vectors of values that agree to rounding are taken not to turn into each other."""
    values, vectors = jnp.linalg.eigh(k)
    return values, vectors


@_eigh.defjvp
def _(primals: Any, tangents: Any) -> Any:
    values, vectors = _eigh(*primals)
    inner = vectors.T @ tangents[0] @ vectors
    gap = values[None, :] - values[:, None]
    near = jnp.abs(gap) <= 1e3 * jnp.finfo(values.dtype).eps * jnp.max(jnp.abs(values))
    turn = jnp.where(near, 0.0, 1 / jnp.where(near, 1.0, gap))
    return (values, vectors), (jnp.diagonal(inner), vectors @ (turn * inner))
