"""A checkpoint in memory: plain data, and the arrays of trees under names, as bits that a file can hold."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jensen.core import StorageError


class Saved:
    """A checkpoint that was read: its plain data, and its arrays by the names of the trees that they belong to."""

    def __init__(self, meta: dict[str, Any], arrays: dict[str, np.ndarray], records: Sequence[list[np.ndarray]] = ()):
        self.meta, self._arrays, self.records = meta, arrays, records

    @property
    def named(self) -> dict[str, np.ndarray]:
        """All its arrays, by name."""
        return self._arrays

    def fill(self, name: str, like: Any) -> Any:
        """`like` with its array leaves replaced by the saved ones. Raises `StorageError` where shapes differ."""
        leaves, treedef = jax.tree.flatten(like)
        at = 0
        for i, leaf in enumerate(leaves):
            if not _is_array(leaf):
                continue
            saved, wanted = self._arrays.get(f"{name}/{at}"), _bits(leaf)
            if saved is None or saved.shape != wanted.shape or saved.dtype != wanted.dtype:
                raise StorageError(
                    f"The checkpoint's {name} has another structure than this run's: start in a new folder"
                )
            leaves[i] = _like(leaf, saved)
            at += 1
        return jax.tree.unflatten(treedef, leaves)

    def arrays(self, name: str) -> list[np.ndarray]:
        """The saved leaves of `name`, in order."""
        out: list[np.ndarray] = []
        while f"{name}/{len(out)}" in self._arrays:
            out.append(self._arrays[f"{name}/{len(out)}"])
        return out


def _is_array(leaf: Any) -> bool:
    return eqx.is_array(leaf) or isinstance(leaf, np.ndarray)


def leaves_of(tree: Any) -> list[np.ndarray]:
    """The arrays of a tree, in order, as plain numbers."""
    return [_bits(leaf) for leaf in jax.tree.leaves(tree) if _is_array(leaf)]


def _bits(leaf: Any) -> np.ndarray:
    """As an array of plain numbers: keys as their data, narrow floats of other libraries as whole numbers."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    array = np.asarray(leaf)
    return array if array.dtype.kind in "fiubc" else array.view(f"u{array.dtype.itemsize}")


def _like(leaf: Any, saved: np.ndarray) -> Any:
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(jnp.asarray(saved), impl=jax.random.key_impl(leaf))
    saved = saved if saved.dtype == leaf.dtype else saved.view(leaf.dtype)
    return jnp.asarray(saved) if isinstance(leaf, jax.Array) else saved
