"""Sparse inverse Cholesky factors: precisions U U^T whose columns see a few earlier points each."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jensen.core import in_batches
from jensen.families.sparsity import Elimination
from jensen.gp.priors._neighbours import Neighbours

BATCH = 256  # points whose ancestors are worked through at once


class SparseFactor(eqx.Module):
    """U with column i = (1 at i, C_ij at its parents j) / s_i: f_i = -sum_j C_ij f_j + s_i u_i, u ~ N(0, I).

    The precision is U U^T; log det U = -sum log s_i. `coefficients`: C (n, w), zero where there is no parent.
    """

    coefficients: Float[Array, "n w"]
    scales: Float[Array, " n"]

    def pulled(self, elimination: Elimination, f: Float[Array, " n"]) -> Float[Array, " n"]:
        """U^T f."""
        return elimination.apply(self.coefficients, f) / self.scales

    def precision(self, elimination: Elimination, f: Float[Array, " n"]) -> Float[Array, " n"]:
        """U U^T f."""
        g, transposed = jax.vjp(lambda v: self.pulled(elimination, v), f)
        return transposed(g)[0]

    def drawn(self, elimination: Elimination, u: Float[Array, " n"]) -> Float[Array, " n"]:
        """U^-T u: with u ~ N(0, I) a draw of f."""
        return elimination.solve(self.coefficients, self.scales * u)

    def solved(self, elimination: Elimination, b: Float[Array, " n"]) -> Float[Array, " n"]:
        """(U U^T)^-1 b."""
        drawn = functools.partial(self.drawn, elimination)
        (back,) = jax.linear_transpose(drawn, b)(b)
        return drawn(back)

    def variance(
        self, parents: Int[Array, "n w"], ancestors: Int[Array, " q"], weights: Float[Array, "q r"]
    ) -> Float[Array, " r"]:
        """Variances of r functionals sum_a weights_a f_a of the values at `ancestors` (sorted, filled up with n).

        f is followed back to the noise u of the ancestors, from the last one on; what flows elsewhere is left out.
        """
        n, q = len(self.scales), len(ancestors)
        at = jnp.minimum(ancestors, n - 1)
        real = (ancestors < n)[:, None]
        mothers = parents[at]
        place = jnp.searchsorted(ancestors, mothers)
        place = jnp.where(ancestors[jnp.minimum(place, q - 1)] == mothers, place, q)

        def back(w: Float[Array, "q r"], r: Int[Array, ""]) -> tuple[Float[Array, "q r"], Float[Array, " r"]]:
            w = w.at[place[r]].add(-self.coefficients[at[r]][:, None] * w[r], mode="drop")
            return w, w[r] * self.scales[at[r]]

        _, reached = jax.lax.scan(back, weights * real, jnp.arange(q), reverse=True)
        return jnp.sum(reached**2, 0)

    def spread_at(self, neighbours: Neighbours, prior: "SparseFactor", i: Int[Array, ""]) -> Float[Array, " 2"]:
        """|V^-1 e_i|^2 = var f_i, and |V^-1 U_i|^2, for V this factor and U that of `prior`."""
        parents, ancestors, n = neighbours.elimination.parents, neighbours.ancestors[i], len(self.scales)
        own = jnp.searchsorted(ancestors, i)
        value = jnp.zeros(len(ancestors), self.scales.dtype).at[own].set(1.0)
        place = jnp.where(parents[i] < n, jnp.searchsorted(ancestors, parents[i]), len(ancestors))
        column = value.at[place].add(prior.coefficients[i], mode="drop") / prior.scales[i]
        return self.variance(parents, ancestors, jnp.stack([value, column], 1))


def closest_factor(covariance: Float[Array, "n w1 w1"], parents: Int[Array, "n w"], n: int) -> SparseFactor:
    """The factor of the pattern nearest in KL(N(0, K) || .): each point's regression on its parents.

    `covariance[i]`: K over the parents of i and i itself, the last. Source: Schäfer, Katzfuss and Owhadi (2021).
    """

    def one(args: tuple[Float[Array, "w1 w1"], Int[Array, " w"]]) -> tuple[Float[Array, " w"], Float[Array, ""]]:
        k, own = args
        real = own < n
        w = own.shape[0]
        among = jnp.where(real[:, None] & real, k[:w, :w], jnp.eye(w, dtype=k.dtype))
        across = jnp.where(real, k[:w, w], 0.0)
        tril = jnp.linalg.cholesky(among)
        half = jax.scipy.linalg.solve_triangular(tril, across, lower=True)
        weights = jax.scipy.linalg.solve_triangular(tril, half, lower=True, trans=1)
        return -weights, jnp.sqrt(k[w, w] - half @ half)

    return SparseFactor(*in_batches(one, (covariance, parents), BATCH))


def incomplete_factor(prior: SparseFactor, added: Float[Array, " n"], parents: Int[Array, "n w"]) -> SparseFactor:
    """V with V V^T = U U^T + diag(added) on the pattern, by a Cholesky factorisation without filling in.

    Exact where parents of a point are parents of each other. A pivot is kept above 1 % of the prior's, which only
    negative `added` can come near. n steps of w^2; source of its use: Schäfer, Katzfuss and Owhadi (2021).
    """
    n, w = parents.shape
    real = parents < n
    at = jnp.where(real, parents, 0)
    # slot of (parent a, parent b) of i in the row of the later one, b: w for the diagonal, w + 1 for outside the
    # pattern
    rows = parents[at]

    def slots(own: Int[Array, " w"], mothers: Int[Array, "w w"], good: Array) -> Int[Array, "w w"]:
        hit = mothers[None, :, :] == own[:, None, None]  # [a, b, slot]
        slot = jnp.where(jnp.any(hit, -1), jnp.argmax(hit, -1), w + 1)
        slot = jnp.where(jnp.eye(w, dtype=bool), w, slot)
        return jnp.where(good[:, None] & good, slot, w + 1)

    slot = jax.vmap(slots)(parents, rows, real)
    columns = prior.coefficients / prior.scales[:, None]
    table = jnp.zeros((n, w + 2), columns.dtype)
    table = table.at[jnp.broadcast_to(at[:, None, :], slot.shape), slot].add(columns[:, :, None] * columns[:, None, :])
    table = table.at[:, :w].add(columns / prior.scales[:, None]).at[:, w].add(1 / prior.scales**2 + added)
    floor = 0.01 / prior.scales**2

    def eliminate(table: Array, i: Int[Array, ""]) -> tuple[Array, tuple[Array, Array]]:
        pivot = jnp.maximum(table[i, w], floor[i])
        line = jnp.where(real[i], table[i, :w], 0.0)
        change = line[:, None] * line / pivot
        table = table.at[jnp.broadcast_to(at[i][None, :], (w, w)), slot[i]].add(-change)
        return table, (line / pivot, jax.lax.rsqrt(pivot))

    _, (coefficients, scales) = jax.lax.scan(eliminate, table, jnp.arange(n), reverse=True)
    return SparseFactor(coefficients, scales)
