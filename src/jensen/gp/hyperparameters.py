"""Hyperparameters: the trained numbers of kernels and likelihoods as one vector of unconstrained coordinates."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jensen.core import Compiled, InputError


class Hyperparameters(eqx.Module):
    """A bijection between the trained leaves of a pytree and a vector theta.

    Leaves are the floating arrays of kernels, likelihoods and the like. Each is positive (lengthscales, variances,
    degrees of freedom) and enters as its logarithm, unless its field is declared with `metadata={"real": True}` (enters
    as it is), or with `metadata={"fixed": True}` (is not trained); leaves of tinygp's transforms are real too.

    `names`: one a number, a path such as `kernel.lengthscale[0]`; `theta`: their values now.
    """

    tree: Any
    kinds: tuple[str, ...] = eqx.field(static=True)
    names: tuple[str, ...] = eqx.field(static=True)

    def __init__(self, tree: Any):
        """Raises `InputError` for a positive parameter that is not."""
        self.tree = tree
        entries = list(_entries(tree))
        self.kinds = tuple(kind for _, kind, _ in entries)
        names: list[str] = []
        for path, kind, leaf in entries:
            if kind == "fixed":
                continue
            if kind == "positive" and not isinstance(leaf, jax.core.Tracer) and not np.all(np.asarray(leaf) > 0):
                raise InputError(f"The hyperparameter {path} must be positive, got {np.asarray(leaf)}")
            names += [path + (f"[{', '.join(map(str, i))}]" if i else "") for i in np.ndindex(np.shape(leaf))]
        self.names = tuple(names)

    @property
    def logarithmic(self) -> np.ndarray:
        """Which coordinates are logarithms, (p,)."""
        sizes = [(kind, leaf.size) for kind, leaf in zip(self.kinds, self._leaves(), strict=True) if kind != "fixed"]
        return np.concatenate([np.full(size, kind == "positive") for kind, size in sizes] or [np.zeros(0, bool)])

    @property
    def theta(self) -> Float[Array, " p"]:
        """The coordinates of the tree's present values."""
        return self._theta()

    @Compiled
    def _theta(self) -> Float[Array, " p"]:
        parts = [
            jnp.ravel(jnp.log(leaf) if kind == "positive" else leaf)
            for kind, leaf in zip(self.kinds, self._leaves(), strict=True)
            if kind != "fixed"
        ]
        return jnp.concatenate(parts) if parts else jnp.zeros(0, jnp.result_type(float))

    @Compiled
    def at(self, theta: Float[Array, " p"]) -> Any:
        """The tree with the values of these coordinates."""
        leaves, start = [], 0
        for kind, leaf in zip(self.kinds, self._leaves(), strict=True):
            if kind == "fixed":
                leaves.append(leaf)
                continue
            part = theta[start : start + leaf.size].reshape(leaf.shape)
            leaves.append((jnp.exp(part) if kind == "positive" else part).astype(leaf.dtype))
            start += leaf.size
        trained, rest = eqx.partition(self.tree, eqx.is_inexact_array)
        return eqx.combine(jax.tree.unflatten(jax.tree.structure(trained), leaves), rest)

    @Compiled
    def numbers(self, theta: Float[Array, " p"]) -> Float[Array, " p"]:
        """The numbers in the order of `names`, in their own units."""
        leaves = zip(self.kinds, _floating(self.at(theta)), strict=True)
        flat = [jnp.ravel(leaf) for kind, leaf in leaves if kind != "fixed"]
        return jnp.concatenate(flat) if flat else jnp.zeros(0, jnp.result_type(float))

    def values(self, theta: Float[Array, " p"]) -> dict[str, Array]:
        """The numbers by name."""
        return dict(zip(self.names, self.numbers(theta), strict=True)) if self.names else {}

    def _leaves(self) -> list[Array]:
        return _floating(self.tree)


def _floating(tree: Any) -> list[Array]:
    return jax.tree.leaves(eqx.filter(tree, eqx.is_inexact_array))


def _entries(tree: Any) -> Iterator[tuple[str, str, Array]]:
    """(path, kind, leaf) of each floating array, in the order of `jax.tree.leaves`."""
    for path, leaf in jax.tree_util.tree_flatten_with_path(eqx.filter(tree, eqx.is_inexact_array))[0]:
        yield _name(path), _kind(tree, path), leaf


def _name(path: Any) -> str:
    words = ""
    for entry in path:
        if isinstance(entry, jax.tree_util.GetAttrKey):
            words += f".{entry.name}"
        elif isinstance(entry, jax.tree_util.DictKey):
            words += f".{entry.key}"
        else:
            words += f"[{getattr(entry, 'idx', entry)}]"
    return words.lstrip(".")


def _kind(tree: Any, path: Any) -> str:
    """How a leaf is trained: the innermost declaration on its path counts."""
    kind = "positive"
    for entry in path:
        if isinstance(entry, jax.tree_util.GetAttrKey):
            fields = {f.name: f for f in dataclasses.fields(tree)} if dataclasses.is_dataclass(tree) else {}
            if type(tree).__module__ == "tinygp.transforms" and entry.name != "kernel":
                kind = "real"
            declared = fields[entry.name].metadata if entry.name in fields else {}
            kind = "real" if declared.get("real") else "fixed" if declared.get("fixed") else kind
            tree = getattr(tree, entry.name)
        elif isinstance(entry, jax.tree_util.DictKey):
            tree = tree[entry.key]
        else:
            tree = tree[entry.idx]
    return kind
