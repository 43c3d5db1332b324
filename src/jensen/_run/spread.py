"""How the leaves of a target and of a state lie on a mesh: the one place that decides it."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float

from jensen.core import Fed, Locals, MissingCapability, Noisy, PRNGKey, Rows, Space, Target, spread
from jensen.core.parallel import AXES, DATA, DRAWS, PARAMETERS, axis_size


class Spread(Target):
    """A target with its rows shared out over the axis `data` of a mesh, equally: the last rows are repeated to fill up.

    `whole`, within a compiled program, is the target itself, its arrays cut back to their `lengths` (0: as they are):
    what is computed from them is the same as on one device, and no algorithm sees the filling. By itself it is a log
    density; its `space` serves for names and shapes.
    """

    leaves: list[Any]
    lengths: tuple[int, ...] = eqx.field(static=True)
    tree: Any = eqx.field(static=True)

    def whole(self) -> Any:
        """The target or noisy target that was spread."""
        pairs = zip(self.leaves, self.lengths, strict=True)
        return jax.tree.unflatten(self.tree, [spread(a[:n], DATA) if n else a for a, n in pairs])

    @property
    def space(self) -> Space:
        return exact(jax.tree.unflatten(self.tree, self.leaves)).space

    def log_density(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        return exact(self.whole()).log_density(z)

    def start(self, key: PRNGKey) -> Float[Array, " d"]:
        return exact(self.whole()).start(key)


def exact(target: Any) -> Any:
    """The exact target behind one that may be noisy; of rows read beforehand, the target of some rows."""
    if isinstance(target, Fed):
        return target.template
    return target.exact if isinstance(target, Noisy) else target


def whole(target: Any) -> Any:
    """Within a compiled program: the target itself, if it was spread."""
    return target.whole() if isinstance(target, Spread) else target


def row_count(target: Any) -> int:
    """The rows of a target that devices can share: `num_rows` where it has rows, else the observations; 0 for none."""
    target = exact(target)
    if isinstance(target, Rows | Locals):
        return target.num_rows
    lengths = [a.shape[0] for a in jax.tree.leaves(jax.eval_shape(target.observed)) if a.ndim]
    if lengths:
        return max(lengths)
    inner = getattr(target, "target", None)
    return row_count(inner) if isinstance(inner, Target) else 0


def by_index(target: Any) -> bool:
    """Whether a target sees its rows through an index (a NumPyro plate), so that its data must be whole everywhere."""
    if not (isinstance(target, Target) and isinstance(target, Rows)):
        return False
    try:
        seen = eqx.filter_eval_shape(lambda t: t.minibatch(jnp.arange(1)), target)
    except MissingCapability:  # a prior whose rows depend on each other: they are held, if not seen, one by one
        return False
    return jax.tree.structure(seen) != jax.tree.structure(target)


def spread_target(target: Any, size: int, put: Any) -> Spread:
    """`target` by `put(leaf, spec, length)`, rows over `size` devices; `length` is that of the filled leading axis."""
    num = row_count(target)
    indexed: list[Any] = []

    def explicit(node: Any) -> Any:
        if by_index(node):
            indexed.append(node)
            return node.minibatch(jnp.arange(num))
        return node

    if size > 1:
        target = jax.tree.map(explicit, target, is_leaf=by_index)
    own = {id(leaf) for node in indexed for leaf in jax.tree.leaves(node)}
    filled = size * math.ceil(num / size)
    leaves, tree = jax.tree.flatten(target)
    lengths, placed, seen = [], [], {}
    for leaf in leaves:
        rows = size > 1 and eqx.is_array(leaf) and leaf.ndim > 0 and leaf.shape[0] == num and id(leaf) not in own
        if id(leaf) not in seen:  # a model's data stand in its space too: one copy serves both
            spec = PartitionSpec(DATA) if rows else PartitionSpec()
            seen[id(leaf)] = put(leaf, spec, filled if rows else None) if eqx.is_array(leaf) else leaf
        placed.append(seen[id(leaf)])
        lengths.append(num if rows and filled != num else 0)
    make: Any = Spread
    return make(placed, tuple(lengths), tree)


def rows_spread(target: Any, num: int) -> Any:
    """A target seen through `num` rows, those rows shared out."""
    leaves, tree = jax.tree.flatten(target)
    return jax.tree.unflatten(tree, [spread(a, DATA) if _leads(a, num) else a for a in leaves])


def state_specs(state: Any, algorithm: Any, target: Any) -> Any:
    """Where the arrays of a state lie: members over `draws`, tables of rows over `data`, coordinates over `parameters`.

    It is told by the length of the leading axis; a length that the devices cannot share equally stays whole.
    """
    lengths = ((algorithm.lanes, DRAWS), (row_count(target), DATA), (target.space.dimension, PARAMETERS))
    axes = [(n, axis) for n, axis in lengths if axis_size(axis) > 1 and n % axis_size(axis) == 0]

    def spec(leaf: Any) -> PartitionSpec:
        return next((PartitionSpec(axis) for n, axis in axes if _leads(leaf, n)), PartitionSpec())

    return jax.tree.map(lambda leaf: spec(leaf) if eqx.is_array(leaf) else None, state)


def laid(state: Any, algorithm: Any, target: Any) -> Any:
    """Within a compiled program: the arrays of a state where `state_specs` wants them; itself without a mesh."""
    if all(axis_size(axis) == 1 for axis in AXES):
        return state
    arrays, rest = eqx.partition(state, eqx.is_array)
    specs = state_specs(arrays, algorithm, target)
    return eqx.combine(jax.tree.map(jax.lax.with_sharding_constraint, arrays, specs), rest)


def _leads(leaf: Any, length: int) -> bool:
    return eqx.is_array(leaf) and leaf.ndim > 0 and leaf.shape[0] == length
