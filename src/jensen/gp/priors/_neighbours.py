"""Orders and sparsity patterns of inputs in space, found on the host: maximin order, nearest earlier neighbours."""

import itertools
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jensen.core import InputError, require
from jensen.families.sparsity import Elimination, lean_on

FAR = 1e30  # the distance of the first point to earlier ones, of which there are none: a state must be finite


class Neighbours(eqx.Module):
    """Which input leans on which: all indices are places in `order`, rows of indices are filled up with n.

    `order`: the inputs' numbers, coarse to fine. `points`: the inputs in that order, divided by `scale`. `lengths`:
    l_i, the distance of point i to the nearest earlier one. `elimination`: each point's parents, earlier points.
    `ancestors`: the points, in order and with i the last, whose noise is counted as reaching i: the parents, and every
    earlier j within `radius` l_j of i (n, q).
    """

    order: Int[Array, " n"]
    points: Float[Array, "n d"]
    scale: Float[Array, " d"]
    lengths: Float[Array, " n"]
    elimination: Elimination
    ancestors: Int[Array, "n q"]
    radius: float = eqx.field(static=True)


def nearest_neighbours(x: Any, num: int = 16, scale: Any = 1.0, radius: float = 3.0) -> Neighbours:
    """Maximin order, and for each point its `num` nearest earlier ones as parents.

    `scale`: lengthscales by which inputs are divided before distances are taken, one or (d,). `radius`: how far, in
    units of an ancestor's own distance l_j, its noise is followed; infinity follows it everywhere, at a cost of n^2.
    Time O(n^2) in the ordering, of one vector operation a point, memory O(n (num + ancestors)).

    Raises `InputError` for inputs that are not finite or coincide, or for no neighbours.

    Source: Katzfuss and Guinness (2021), A general framework for Vecchia approximations of Gaussian processes.
    """
    require(num >= 1, f"One neighbour or more is wanted, got {num}")
    points, scale, order, lengths = _ordered(x, scale)
    n = len(points)
    width = min(num, max(n - 1, 1))
    parents = np.full((n, width), n)
    for begin, end in _doublings(n):
        for i, found in _earlier(points, begin, end, width):
            parents[i, : len(found)] = found
    return _assemble(points, scale, order, lengths, np.sort(parents, 1), radius)


def neighbours_within(x: Any, reach: float = 2.0, scale: Any = 1.0, radius: float | None = None) -> Neighbours:
    """Maximin order, and for each point i all earlier points within `reach` l_i as parents.

    As `nearest_neighbours`, but with a number of parents that grows with `reach`^d; `radius` is `reach` where None.
    """
    from scipy.spatial import KDTree

    require(reach > 0, f"The reach must be positive, got {reach}")
    points, scale, order, lengths = _ordered(x, scale)
    n = len(points)
    finite = np.where(np.isfinite(lengths), lengths, 0.0)
    balls = KDTree(points).query_ball_point(points, reach * finite)
    earlier = [sorted(j for j in ball if j < i) for i, ball in enumerate(balls)]
    return _assemble(points, scale, order, lengths, _filled(earlier, n), reach if radius is None else radius)


def neighbours_from(x: Any, order: Any, parents: Any, scale: Any = 1.0, radius: float = np.inf) -> Neighbours:
    """A pattern of one's own: the inputs' `order`, and for each place in it the `parents`, earlier places."""
    points, scale = _scaled(x, scale)
    order = np.asarray(order)
    points = points[order]
    lengths = np.array(
        [np.inf] + [np.min(np.linalg.norm(points[:i] - points[i], axis=1)) for i in range(1, len(order))]
    )
    return _assemble(points, scale, order, lengths, _filled([sorted(p) for p in parents], len(order)), radius)


def maximin(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the points (n, d), each the farthest from those before it, and these distances; the first infinite."""
    n = len(points)
    order, lengths = np.empty(n, int), np.full(n, np.inf)
    away = np.linalg.norm(points - points.mean(0), axis=1)
    order[0] = int(np.argmin(away))
    nearest = np.linalg.norm(points - points[order[0]], axis=1)
    for i in range(1, n):
        nearest[order[i - 1]] = -1.0
        order[i] = int(np.argmax(nearest))
        lengths[i] = nearest[order[i]]
        difference = points - points[order[i]]
        nearest = np.minimum(nearest, np.sqrt(np.einsum("nd,nd->n", difference, difference)))
    return order, lengths


def _scaled(x: Any, scale: Any) -> tuple[np.ndarray, np.ndarray]:
    x = np.asarray(x, float)
    x = x[:, None] if x.ndim == 1 else x
    require(x.ndim == 2 and x.size > 0, f"Inputs are an (n, d) array, got shape {x.shape}")
    require(bool(np.all(np.isfinite(x))), "Inputs must be finite: there is a NaN or an infinity among them")
    scale = np.broadcast_to(np.asarray(scale, float), (x.shape[1],))
    require(bool(np.all(scale > 0)), f"Scales must be positive, got {scale}")
    return x / scale, scale


def _ordered(x: Any, scale: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    points, scale = _scaled(x, scale)
    order, lengths = maximin(points)
    if np.any(lengths <= 0):
        second = int(order[np.argmax(lengths <= 0)])
        gap = np.linalg.norm(points - points[second], axis=1)
        gap[second] = np.inf
        first = int(np.argmin(gap))
        raise InputError(
            f"Inputs {min(first, second)} and {max(first, second)} coincide, and a precision of noise-free values then "
            "does not exist: merge repeated inputs into one, or take a dense or inducing-point prior"
        )
    return points[order], scale, order, lengths


def _doublings(n: int) -> list[tuple[int, int]]:
    edges = [1]
    while edges[-1] < n:
        edges.append(min(2 * edges[-1], n))
    return list(itertools.pairwise(edges))


def _earlier(points: np.ndarray, begin: int, end: int, width: int) -> Any:
    """For each i in [begin, end) its nearest earlier points: about half of the first `end` points are earlier."""
    from scipy.spatial import KDTree

    tree, left, asked = KDTree(points[:end]), np.arange(begin, end), min(3 * width + 8, end)
    while len(left):
        found = tree.query(points[left], k=asked)[1].reshape(len(left), -1)
        again = []
        for i, row in zip(left, found, strict=True):
            own = row[row < i][:width]
            if len(own) == min(width, i):
                yield i, own
            else:
                again.append(i)
        left, asked = np.array(again, int), min(2 * asked, end)


def _filled(rows: list[Any], n: int) -> np.ndarray:
    width = max(1, max((len(row) for row in rows), default=1))
    return np.array([list(row) + [n] * (width - len(row)) for row in rows], int)


def _assemble(
    points: np.ndarray, scale: np.ndarray, order: np.ndarray, lengths: np.ndarray, parents: np.ndarray, radius: float
) -> Neighbours:
    from scipy.spatial import KDTree

    n = len(points)
    tree = KDTree(points)
    reached: list[set[int]] = [{i, *own[own < n].tolist()} for i, own in enumerate(parents)]
    for j in range(n):
        inside = tree.query_ball_point(points[j], min(radius * lengths[j], 1e300)) if j else range(n)
        for i in inside:
            if i > j:
                reached[i].add(j)
    return Neighbours(
        jnp.asarray(order, jnp.int32),
        jnp.asarray(points, jnp.result_type(float)),
        jnp.asarray(scale, jnp.result_type(float)),
        jnp.asarray(np.where(np.isfinite(lengths), lengths, FAR), jnp.result_type(float)),
        lean_on(parents),
        jnp.asarray(_filled([sorted(r) for r in reached], n), jnp.int32),
        float(radius),
    )
