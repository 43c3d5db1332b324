"""Words for programs that run over the devices of a mesh: each is nothing where no mesh is in use."""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax
import jax.core
from jax.sharding import AxisType, PartitionSpec

DATA, DRAWS, PARAMETERS = "data", "draws", "parameters"
AXES = {
    DATA: "the rows of the target",
    DRAWS: "draws, particles, chains and restarts",
    PARAMETERS: "the coordinates of a family, row by row of its factor",
}

_outer = contextvars.ContextVar("_outer", default=False)


def axis_size(axis: str) -> int:
    """Devices along `axis` of the mesh in use; 1 where there is none."""
    return _mesh().get(axis, 1)


def _mesh() -> dict[str, int]:
    """Axes of the mesh in use with their sizes; empty where it is none of ours."""
    mesh = jax.sharding.get_abstract_mesh()
    ours = set(mesh.axis_names) <= set(AXES) and all(kind is AxisType.Auto for kind in mesh.axis_types)
    return dict(mesh.shape) if ours else {}


def spread(tree: Any, axis: str = DRAWS) -> Any:
    """`tree` with the leading axis of its arrays shared out over the mesh's `axis`: what follows is computed there.

    A hint that changes no value. Arrays with fewer entries than devices stay whole.
    """
    size = 1 if axis == DRAWS and _outer.get() else axis_size(axis)
    return tree if size == 1 else _constrained(tree, lambda a: a.ndim and a.shape[0] >= size, PartitionSpec(axis))


def gathered(tree: Any) -> Any:
    """`tree` with each of its arrays whole on every device of the mesh in use."""
    if not _mesh():
        return tree
    return _constrained(tree, lambda a: True, PartitionSpec())


@contextlib.contextmanager
def outer_draws() -> Iterator[None]:
    """Within: `spread` over the draws does nothing, for what is vmapped is shared out already (restarts)."""
    token = _outer.set(True)
    try:
        yield
    finally:
        _outer.reset(token)


def _constrained(tree: Any, where: Any, spec: PartitionSpec) -> Any:
    def one(leaf: Any) -> Any:
        if eqx.is_array(leaf) and isinstance(leaf, jax.core.Tracer) and where(leaf):
            return jax.lax.with_sharding_constraint(leaf, spec)
        return leaf

    return jax.tree.map(one, tree)
