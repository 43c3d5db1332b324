"""Which unknowns meet in a term of a log density, and in what order to eliminate them."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jensen.core import InputError, PRNGKey, in_batches

_BLOCK = 64  # columns of the Hessian at a time


class Elimination(eqx.Module):
    """An order of elimination of d coordinates: each leans on its parents, which come later.

    `parents`: shape (d, w), filled up with d. `groups`: coordinates level by level, from those without parents on, so
    that the coordinates of a level depend on earlier levels only: arrays of shape (levels, size) to be run through in
    turn, filled up with d.
    """

    parents: Int[Array, "d w"]
    groups: tuple[Int[Array, "_ _"], ...]

    def apply(self, coefficients: Float[Array, "d w"], x: Float[Array, " d"]) -> Float[Array, " d"]:
        """y_i = x_i + sum over parents j of c_ij x_j."""
        return x + jnp.sum(coefficients * _padded(x)[self.parents], axis=1)

    def solve(self, coefficients: Float[Array, "d w"], y: Float[Array, " d"]) -> Float[Array, " d"]:
        """The x with apply(coefficients, x) = y, by substitution; its derivatives cost one more substitution."""
        fixed = jax.lax.stop_gradient(coefficients)
        return jax.lax.custom_linear_solve(
            lambda x: self.apply(coefficients, x),
            y,
            lambda _, y: self._substitute(fixed, y),
            lambda _, y: self._substitute_transposed(fixed, y),
        )

    def _substitute(self, coefficients: Float[Array, "d w"], y: Float[Array, " d"]) -> Float[Array, " d"]:
        rows, parents, y = _padded(coefficients), self._rows(), _padded(y)

        def level(x: Any, at: Any) -> tuple[Any, None]:
            return x.at[at].set(y[at] - jnp.sum(rows[at] * x[parents[at]], axis=1)), None

        x = jnp.zeros_like(y)
        for group in self.groups:
            x = jax.lax.scan(level, x, group)[0]
        return x[:-1]

    def _substitute_transposed(self, coefficients: Float[Array, "d w"], y: Float[Array, " d"]) -> Float[Array, " d"]:
        rows, parents = _padded(coefficients), self._rows()

        def level(x: Any, at: Any) -> tuple[Any, None]:
            return x.at[parents[at]].add(-rows[at] * x[at][:, None]), None

        x = _padded(y)
        for group in reversed(self.groups):
            x = jax.lax.scan(level, x, group, reverse=True)[0]
        return x[:-1]

    def _rows(self) -> Int[Array, "d1 w"]:
        d, w = self.parents.shape
        return jnp.concatenate([self.parents, jnp.full((1, w), d, self.parents.dtype)])


def _padded(x: Float[Array, "d *w"]) -> Float[Array, "d1 *w"]:
    """`x` with one more row of zeros: what the number d stands for."""
    return jnp.concatenate([x, jnp.zeros((1, *x.shape[1:]), x.dtype)])


def sparsity(target: Any, key: PRNGKey | None = None, num_points: int = 3) -> np.ndarray:
    """Whether unknowns i and j meet in a term of the log density: shape (d, d), symmetric, true on the diagonal.

    An entry is false where the Hessian of `target.log_density` is zero at each of `num_points` random points, up to
    rounding: |H_ij| <= 100 eps sqrt(|H_ii H_jj|). Unknowns of a plate that are independent given the rest do not meet.
    Cost: `num_points` Hessians, d products of a Hessian with a vector each.

    Raises `InputError` where the Hessian is not finite at any of the points.
    """
    points = jax.vmap(target.start)(jax.random.split(jax.random.key(0) if key is None else key, num_points))
    hessians = np.asarray(_hessians(target, points))
    good = np.all(np.isfinite(hessians), axis=(1, 2))
    if not np.any(good):
        raise InputError(
            f"The Hessian of the log density is not finite at any of {num_points} random points: give the pattern of "
            "the precision by hand, as an array of booleans"
        )
    pattern = np.eye(hessians.shape[1], dtype=bool)
    for hessian in hessians[good]:
        size = np.sqrt(np.abs(np.diagonal(hessian)))
        pattern |= np.abs(hessian) > 100 * np.finfo(hessian.dtype).eps * np.outer(size, size)
    return pattern | pattern.T


@eqx.filter_jit
def _hessians(target: Any, points: Float[Array, "n d"]) -> Float[Array, "n d d"]:
    gradient = jax.grad(target.log_density)
    eye = jnp.eye(points.shape[1], dtype=points.dtype)

    def hessian(z: Float[Array, " d"]) -> Float[Array, "d d"]:
        return in_batches(lambda v: jax.jvp(gradient, (z,), (v,))[1], eye, _BLOCK)

    return jax.lax.map(hessian, points)


def eliminate(pattern: Any) -> Elimination:
    """An order of elimination of least degree first, with the parents that filling in leaves.

    `pattern`: shape (d, d), symmetric booleans, whether two coordinates meet. Raises `InputError` for anything else.
    """
    pattern = np.asarray(pattern)
    if pattern.ndim != 2 or pattern.shape[0] != pattern.shape[1] or pattern.dtype != bool or not len(pattern):
        raise InputError(f"A pattern is a (d, d) array of booleans, got {pattern.dtype} of shape {pattern.shape}")
    if not np.array_equal(pattern, pattern.T):
        raise InputError("A pattern of a precision is symmetric, and this one is not: pass pattern | pattern.T")
    d = len(pattern)
    neighbours = [set(np.flatnonzero(row).tolist()) - {i} for i, row in enumerate(pattern)]
    parents: list[list[int]] = [[] for _ in range(d)]
    order, left = [], set(range(d))
    for _ in range(d):
        i = min(left, key=lambda j: (len(neighbours[j]), j))
        left.remove(i)
        order.append(i)
        around = neighbours[i]
        parents[i] = sorted(around)
        for j in around:
            neighbours[j] |= around
            neighbours[j] -= {i, j}
    level = np.zeros(d, int)
    for i in reversed(order):
        level[i] = 1 + max((level[j] for j in parents[i]), default=-1)
    w = max(1, *(len(p) for p in parents)) if d > 1 else 1
    filled = [p + [d] * (w - len(p)) for p in parents]
    return Elimination(jnp.asarray(np.reshape(filled, (d, w)), jnp.int32), _groups(level, d))


def lean_on(parents: Any) -> Elimination:
    """The elimination in which coordinate i leans on `parents[i]`, all of them below i; (d, w), filled up with d.

    Raises `InputError` where a parent is not below its child.
    """
    parents = np.asarray(parents)
    d = len(parents)
    if parents.ndim != 2 or np.any((parents < d) & (parents >= np.arange(d)[:, None])) or np.any(parents < 0):
        raise InputError(f"Parents are a (d, w) array of numbers below the row's own, filled up with d = {d}")
    level = np.zeros(d + 1, int)
    level[d] = -1
    for i, own in enumerate(parents):
        level[i] = 1 + level[own].max(initial=-1)
    level = level[:d]
    counts = np.bincount(level)
    # one loop over levels of one size compiles several times faster than a loop for each size, at the price of padding
    if counts.max() * len(counts) <= 16 * d:
        ranked = np.argsort(level, kind="stable")
        group = np.full((len(counts), counts.max()), d)
        group[level[ranked], np.arange(d) - np.repeat(np.cumsum(counts) - counts, counts)] = ranked
        groups = (jnp.asarray(group, jnp.int32),)
    else:
        groups = _groups(level, d)
    return Elimination(jnp.asarray(parents, jnp.int32), groups)


def _groups(level: np.ndarray, d: int) -> tuple[Any, ...]:
    """Levels whose sizes round up to the same power of two, one after another, as one array."""
    members = [np.flatnonzero(level == n) for n in range(level.max() + 1)]
    sizes = [1 << (len(m) - 1).bit_length() for m in members]
    groups: list[list[np.ndarray]] = []
    for n, (own, size) in enumerate(zip(members, sizes, strict=True)):
        if n == 0 or size != sizes[n - 1]:
            groups.append([])
        groups[-1].append(np.concatenate([own, np.full(size - len(own), d)]))
    return tuple(jnp.asarray(np.stack(group), jnp.int32) for group in groups)
