"""How a PyTree of unknowns lies in the vector z."""

import dataclasses
from typing import Any

import jax
import numpy as np
from jaxtyping import Array

from jensen.core import InputError, Space, Variable


@dataclasses.dataclass(frozen=True)
class Layout:
    """Structure and leaf shapes of a PyTree of unknowns: static, hashable."""

    treedef: Any
    shapes: tuple[tuple[int, ...], ...]

    def tree(self, parts: dict[str, Array]) -> Any:
        """The PyTree whose leaves are `parts`, in order."""
        leaves = [part.reshape(shape) for part, shape in zip(parts.values(), self.shapes, strict=True)]
        return jax.tree.unflatten(self.treedef, leaves)


def layout_of(example: Any) -> tuple[Space, Layout]:
    """The space of the unknowns in `example`, named after its paths (`z` for a bare array), and their layout.

    Raises `InputError` if `example` holds no array, or a non-numeric or empty one.
    """
    leaves, treedef = jax.tree_util.tree_flatten_with_path(example)
    if not leaves:
        raise InputError(
            "example holds no array, so that there is no unknown: pass a PyTree with the shapes of the unknowns"
        )
    for path, leaf in leaves:
        if not isinstance(leaf, int | float | np.ndarray | np.generic | jax.Array | jax.ShapeDtypeStruct):
            raise InputError(f"{_name(path)!r} in example must be an array, got {type(leaf).__name__}")
        if 0 in np.shape(leaf):
            raise InputError(f"{_name(path)!r} in example is empty (shape {np.shape(leaf)})")
    shapes = tuple(tuple(np.shape(leaf)) for _, leaf in leaves)
    space = Space(tuple(Variable(_name(path), shape) for (path, _), shape in zip(leaves, shapes, strict=True)))
    return space, Layout(treedef, shapes)


def _name(path: Any) -> str:
    words = [str(getattr(k, "key", getattr(k, "name", getattr(k, "idx", k)))) for k in path]
    return ".".join(words) or "z"
