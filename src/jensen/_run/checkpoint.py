"""Checkpoints: state, step and records, so that a killed run ends with the same result, bit for bit."""

import hashlib
import json
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jensen.core import StorageError
from jensen.core.files import pack_arrays, read_arrays, write_atomic

_NAME = "checkpoint.npz"
_VERSION = 1


def fingerprint(algorithm: Any, target: Any, key: Any) -> str:
    """A hash of what a resumed run must share: the key, the algorithm's settings, the target's data and structure."""
    digest = hashlib.sha256()
    digest.update(np.asarray(jax.random.key_data(key)).tobytes())
    for tree in (algorithm, target):
        digest.update(type(tree).__qualname__.encode())
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            digest.update(jax.tree_util.keystr(path).encode())
            if eqx.is_array(leaf):
                digest.update(f"{leaf.dtype}{leaf.shape}".encode())
                digest.update(np.asarray(_raw(leaf)).tobytes())
            elif isinstance(leaf, int | float | str | bool):
                digest.update(repr(leaf).encode())
    return digest.hexdigest()


def _raw(leaf: Any) -> Any:
    return jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf


def save(folder: Path, mark: str, trees: dict[str, Any], meta: dict[str, Any]) -> None:
    """Write the array leaves of `trees` and the plain data `meta`, atomically."""
    arrays = {}
    for name, tree in trees.items():
        for i, leaf in enumerate(
            leaf for leaf in jax.tree.leaves(tree) if eqx.is_array(leaf) or isinstance(leaf, np.ndarray)
        ):
            arrays[f"{name}/{i}"] = np.asarray(leaf)
    header = json.dumps({"version": _VERSION, "fingerprint": mark, **meta}).encode()
    write_atomic(folder / _NAME, pack_arrays({**arrays, "header": np.frombuffer(header, np.uint8)}))


class Saved:
    """A checkpoint that was read: its plain data, and its arrays by the names of the trees that they belong to."""

    def __init__(self, meta: dict[str, Any], arrays: dict[str, np.ndarray]):
        self.meta, self._arrays = meta, arrays

    @property
    def named(self) -> dict[str, np.ndarray]:
        """All its arrays, by name."""
        return self._arrays

    def fill(self, name: str, like: Any) -> Any:
        """`like` with its array leaves replaced by the saved ones. Raises `StorageError` where shapes differ."""
        leaves, treedef = jax.tree.flatten(like)
        at = 0
        for i, leaf in enumerate(leaves):
            if not eqx.is_array(leaf):
                continue
            saved = self._arrays.get(f"{name}/{at}")
            if saved is None or saved.shape != leaf.shape or saved.dtype != leaf.dtype:
                raise StorageError(
                    f"The checkpoint's {name} has another structure than this run's: start in a new folder"
                )
            leaves[i] = jnp.asarray(saved)
            at += 1
        return jax.tree.unflatten(treedef, leaves)

    def arrays(self, name: str) -> list[np.ndarray]:
        """The saved leaves of `name`, in order."""
        out: list[np.ndarray] = []
        while f"{name}/{len(out)}" in self._arrays:
            out.append(self._arrays[f"{name}/{len(out)}"])
        return out


def load(folder: Path, mark: str) -> Saved | None:
    """The checkpoint in `folder`, None if there is none. Raises `StorageError` if it is broken or of another run."""
    if not (folder / _NAME).exists():
        return None
    arrays = read_arrays(folder / _NAME)
    try:
        meta = json.loads(arrays.pop("header").tobytes().decode())
    except (KeyError, ValueError, UnicodeDecodeError) as error:
        raise StorageError(f"{folder / _NAME} is not a checkpoint of Jensen") from error
    if meta.get("version") != _VERSION:
        raise StorageError(f"{folder / _NAME} has format {meta.get('version')}, this version reads {_VERSION}")
    if meta["fingerprint"] != mark:
        raise StorageError(
            f"The checkpoint in {folder} belongs to another run (other key, settings, data or model): use a new folder"
        )
    return Saved(meta, arrays)
