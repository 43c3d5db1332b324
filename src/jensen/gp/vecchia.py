"""Regression with Gaussian noise where each row leans on its nearest earlier ones: Vecchia's approximation."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jensen.core import Compiled, InputError, Scalar, as_scalar, in_batches
from jensen.gp._linalg import LOG_2PI
from jensen.gp.exact import GaussianRegression
from jensen.gp.kernels.stationary import as_rows
from jensen.gp.priors._neighbours import Neighbours, nearest_neighbours
from jensen.gp.priors._sparse_factor import BATCH, SparseFactor, closest_factor


class VecchiaRegression(GaussianRegression):
    """log p(y) = sum_i log N(y_i; b_i y_s, v_i), s the `num` nearest rows before i in maximin order: O(n num^3).

    b_i = C_is C_ss^-1 and v_i = C_ii - b_i C_si with C = K + noise I: each factor is exact, and the product is where
    all earlier rows are parents. No bound on log p(y), from either side. f at a new input is predicted from its `num`
    nearest rows, exactly given these. Nothing is n x n, and there is no set of inducing points that the whole of f must
    pass through: best for many rows in few dimensions on which f is rough. For smooth f in many dimensions inducing
    points need less.

    `kernel`: of tinygp or jensen.gp.kernels. `noise`: variance. `x`: (n, d) or (n,). `y`: (n,). `neighbours`: a pattern
    of `gp.priors.nearest_neighbours`, or their number; then distances are measured in the kernel's lengthscales where
    it has some. Raises `InputError` for coinciding inputs and for a pattern of other inputs.

    Source: Vecchia (1988), Estimation and model identification for continuous spatial processes; Katzfuss and Guinness
    (2021), A general framework for Vecchia approximations of Gaussian processes.
    """

    kernel: Any
    noise: Scalar
    x: Float[Array, "n d"]
    y: Float[Array, " n"]
    neighbours: Neighbours

    def __init__(self, kernel: Any, noise: Any, x: Any, y: Any, neighbours: Neighbours | int = 30):
        rows = as_rows(jnp.asarray(x, jnp.result_type(float)))
        if isinstance(neighbours, int):
            neighbours = nearest_neighbours(rows, neighbours, getattr(kernel, "lengthscale", 1.0))
        if neighbours.points.shape[0] != rows.shape[0]:
            raise InputError(f"The pattern is of {neighbours.points.shape[0]} inputs, and there are {rows.shape[0]}")
        self.kernel, self.noise, self.neighbours = kernel, as_scalar(noise), neighbours
        self.x, self.y = rows[neighbours.order], jnp.asarray(y)[neighbours.order]

    def at(self, parts: dict[str, Any]) -> "VecchiaRegression":
        return eqx.tree_at(lambda m: (m.kernel, m.noise), self, (parts["kernel"], parts["noise"]))

    def factor(self) -> SparseFactor:
        """U with precision U U^T of y, in the order of the pattern."""
        n, parents = self.x.shape[0], self.neighbours.elimination.parents

        @jax.checkpoint
        def one(args: tuple[Int[Array, " w"], Int[Array, ""]]) -> tuple[Array, Array]:
            own, i = args
            seen = self.x[jnp.append(jnp.where(own < n, own, 0), i)]
            found = closest_factor(self.covariance(seen)[None], own[None], n)
            return found.coefficients[0], found.scales[0]

        return SparseFactor(*in_batches(one, (parents, jnp.arange(n)), BATCH))

    def covariance(self, x: Float[Array, "m d"]) -> Float[Array, "m m"]:
        """C of a few rows."""
        return self.kernel(x, x) + self.noise * jnp.eye(x.shape[0], dtype=x.dtype)

    @Compiled
    def log_evidence(self) -> Float[Array, ""]:
        factor = self.factor()
        white = factor.pulled(self.neighbours.elimination, self.y)
        return -0.5 * white @ white - jnp.sum(jnp.log(factor.scales)) - 0.5 * len(self.y) * LOG_2PI

    @Compiled
    def predict(self, x: Any) -> tuple[Float[Array, " m"], Float[Array, " m"]]:
        near, n = self.neighbours, self.x.shape[0]
        width = near.elimination.parents.shape[1]

        def one(new: Float[Array, " d"]) -> tuple[Float[Array, ""], Float[Array, ""]]:
            away = jnp.sum((near.points - new / near.scale) ** 2, 1)
            _, own = jax.lax.top_k(-away, min(width, n))
            tril = jnp.linalg.cholesky(self.covariance(self.x[own]))
            cross = self.kernel(self.x[own], new[None])[:, 0]
            both = jax.scipy.linalg.solve_triangular(tril, jnp.stack([cross, self.y[own]], 1), lower=True)
            return both[:, 0] @ both[:, 1], jnp.maximum(self.kernel(new[None])[0] - both[:, 0] @ both[:, 0], 0.0)

        return in_batches(one, as_rows(jnp.asarray(x, self.x.dtype)), 64)

    def joint(self, x: Any) -> tuple[Float[Array, " m"], Float[Array, "m m"]]:
        """Refused: each new input leans on rows of its own. Raises `InputError`."""
        raise InputError(
            "Predictions from nearest rows have no joint covariance: ask for standard deviations, or take "
            "representation='exact' or 'inducing'"
        )
