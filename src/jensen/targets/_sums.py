"""Sums over the joint support of discrete unknowns, cell by cell of a plate where the model is independent over it."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jensen.core import PRNGKey, Space, Target, in_batches
from jensen.targets._numpyro import NumPyroTarget

_ROUND = 64  # evaluations of the model at a time


class Sums(eqx.Module):
    """The discrete unknowns d of a target as tables: log sum_d p(z, d), and draws of d given z.

    d falls into a part outside all plates, of `outer` (k, columns), and a part in each of the cells of `plates`, of
    `inner` (m, columns a cell): p(z, d) = p(z, d_outer) prod_i p_i(z, d_outer, d_i). Without `plates` all is outer.
    """

    target: Target
    model: NumPyroTarget | None
    outer: Float[Array, "k a"]
    inner: Float[Array, "m b"]
    plates: tuple[tuple[str, int], ...] = eqx.field(static=True)
    layout: tuple[tuple[str, tuple[int, ...]], ...] = eqx.field(static=True)  # of inner variables: axes of the cells

    @property
    def space(self) -> Space:
        """Of the target, discrete unknowns included."""
        return self.target.space

    @property
    def cells(self) -> tuple[int, ...]:
        """Sizes of the plates."""
        return tuple(size for _, size in self.plates)

    def fill(self, z: Float[Array, " c"], outer: Float[Array, " a"], inner: Float[Array, "*cells b"]) -> Array:
        """The target's vector, from the continuous coordinates z and the values of d in their cells."""
        parts, at, inside, begin = {}, 0, 0, 0
        axes = dict(self.layout)
        for v in self.space.variables:
            if not v.support.discrete:
                parts[v.name] = z[begin : begin + v.size].reshape(v.unconstrained_shape)
                begin += v.size
            elif v.name in axes:
                rest = tuple(n for i, n in enumerate(v.shape) if i not in axes[v.name])
                width = int(np.prod(rest, dtype=int))
                values = inner[..., inside : inside + width].reshape(*self.cells, *rest)
                parts[v.name] = jnp.moveaxis(values, range(len(self.cells)), axes[v.name])
                inside += width
            else:
                parts[v.name] = outer[at : at + v.size].reshape(v.shape)
                at += v.size
        return self.space.join(parts)

    def everywhere(self, row: Float[Array, " b"]) -> Float[Array, "*cells b"]:
        """The same values of d in every cell."""
        return jnp.broadcast_to(row, (*self.cells, row.shape[0]))

    def terms(self, z: Float[Array, " d"]) -> tuple[Float[Array, ""], Float[Array, "*cells"]]:
        """log p at the target's vector: what lies outside the cells, and cell by cell."""
        if self.model is None or not self.plates:
            return self.target.log_density(z), jnp.zeros(self.cells, z.dtype)
        outside, inside = jnp.zeros((), z.dtype), jnp.zeros(self.cells, z.dtype)
        for term, site in self.model.site_arrays(z).values():
            frames = {f.name: f.dim for f in site["cond_indep_stack"]}
            if not all(name in frames for name, _ in self.plates):
                outside = outside + jnp.sum(term)
                continue
            term = jnp.broadcast_to(term, jnp.broadcast_shapes(term.shape, site["fn"].batch_shape))
            axes = tuple(term.ndim + frames[name] for name, _ in self.plates)
            moved = jnp.moveaxis(term, axes, range(len(axes)))
            inside = inside + jnp.sum(moved.reshape(*self.cells, -1), axis=-1)
        return outside, inside

    def table(self, z: Float[Array, " c"]) -> tuple[Float[Array, " k"], Float[Array, "k m *cells"]]:
        """log p(z, d_outer) without the cells, (k,), and log p_i(z, d_outer, d_i), (k, m, *cells)."""
        k, m = self.outer.shape[0], self.inner.shape[0]

        def at(pair: Int[Array, ""]) -> tuple[Array, Array]:
            row = self.outer[pair // m]
            return self.terms(self.fill(z, row, self.everywhere(self.inner[pair % m])))

        outside, inside = in_batches(at, jnp.arange(k * m), _ROUND)
        return outside.reshape(k, m)[:, 0], inside.reshape(k, m, *self.cells)

    def log_density(self, z: Float[Array, " c"]) -> Float[Array, ""]:
        """log sum_d p(z, d)."""
        outside, inside = self.table(z)
        cells = log_sum_exp(inside, 1)
        return log_sum_exp(outside + jnp.sum(cells.reshape(cells.shape[0], -1), axis=1), 0)

    def draw(self, key: PRNGKey, z: Float[Array, " c"]) -> Float[Array, " d"]:
        """The target's vector at z with d ~ p(d | z)."""
        outside, inside = self.table(z)
        cells = log_sum_exp(inside, 1)
        key_outer, key_inner = jax.random.split(key)
        chosen = jax.random.categorical(key_outer, outside + jnp.sum(cells.reshape(cells.shape[0], -1), axis=1))
        rows = jax.random.categorical(key_inner, inside[chosen], axis=0)
        return self.fill(z, self.outer[chosen], self.inner[rows])


def log_sum_exp(terms: Array, axis: int) -> Array:
    """log sum exp along `axis`, -inf with slope zero where every term is -inf."""
    # where every term is -inf the gradient of logsumexp is NaN; the density is then zero, and so is its slope
    dead = jnp.all(terms == -jnp.inf, axis=axis, keepdims=True)
    total = jax.nn.logsumexp(jnp.where(dead, 0.0, terms), axis=axis)
    return jnp.where(jnp.squeeze(dead, axis), -jnp.inf, total)


def key_of(z: Float[Array, " d"]) -> PRNGKey:
    """A key that is made of the bits of z: draws that differ have keys that differ."""
    bits = jax.lax.bitcast_convert_type(z.astype(jnp.float32), jnp.uint32)
    odd = 2 * jnp.arange(z.shape[0], dtype=jnp.uint32) + 1
    mixed = jnp.sum((bits ^ (bits >> 15)) * (odd * jnp.uint32(0x9E3779B1) | 1), dtype=jnp.uint32)
    return jax.random.fold_in(jax.random.key(0), mixed)
