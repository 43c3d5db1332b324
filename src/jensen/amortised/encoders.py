"""Encoders: data sets as vectors."""

import abc
import dataclasses
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jensen.amortised._layers import Perceptron, Standard, Transformer, perceptron, standard, transformer
from jensen.core import Compiled, InputError, PRNGKey
from jensen.core.compiled import PASSES


class Encoder(eqx.Module):
    """A trainable map from data to R^c."""

    @abc.abstractmethod
    def __call__(self, data: Any) -> Float[Array, " c"]:
        """The context vector of one data set."""


class VectorEncoder(Encoder):
    """c = W x + perceptron(x), x the standardised values of all arrays of the data, one after another."""

    standard: Standard
    linear: Perceptron
    network: Perceptron

    def __call__(self, data: Any) -> Float[Array, " c"]:
        x = self.standard(flat(data, self.standard.centre.dtype))
        return self.linear(x) + self.network(x)


class SetEncoder(Encoder):
    """c = perceptron(mean over rows of transformer(rows), log number of rows): no order of the rows can change it.

    Data are arrays with a common leading axis of rows; of a dict, `mask` says which rows there are (all, where it is
    absent), so that sets of different sizes fit one shape.

    Source: Zaheer et al. (2017), Deep sets; Lee et al. (2019), Set transformer (here without inducing points).
    """

    standard: Standard
    embed: Perceptron
    transformer: Transformer
    out: Perceptron

    def __call__(self, data: Any) -> Float[Array, " c"]:
        x, present = rows(data, self.standard.centre.dtype)
        tokens = jax.vmap(self.embed)(self.standard(x))
        tokens = self.transformer(tokens, present[None, :] | jnp.eye(len(x), dtype=bool))
        count = jnp.sum(present).astype(tokens.dtype)
        mean = jnp.where(present, 1.0, 0.0).astype(tokens.dtype) @ tokens / jnp.maximum(count, 1)
        return self.out(jnp.append(mean, jnp.log1p(count)))


def flat(data: Any, dtype: Any) -> Float[Array, " n"]:
    """All values of the arrays in `data` as one vector."""
    return jnp.concatenate([jnp.ravel(leaf).astype(dtype) for leaf in jax.tree.leaves(data)])


@partial(Compiled, small=PASSES)
def flat_sets(data: Any) -> Float[Array, "sets n"]:
    """`flat` of each of many data sets, leading axis data sets."""
    return jax.vmap(lambda d: flat(d, jnp.result_type(float)))(data)


@partial(Compiled, small=PASSES)
def _rows(data: Any) -> tuple[Float[Array, "sets n f"], Bool[Array, "sets n"]]:
    return jax.vmap(lambda d: rows(d, jnp.result_type(float)))(data)


def rows(data: Any, dtype: Any) -> tuple[Float[Array, "n f"], Bool[Array, " n"]]:
    """(features of each row, which rows are there)."""
    mask = data.get("mask") if isinstance(data, dict) else None
    parts = {k: v for k, v in data.items() if k != "mask"} if isinstance(data, dict) else data
    leaves = [leaf.reshape(leaf.shape[0], -1).astype(dtype) for leaf in jax.tree.leaves(parts)]
    x = jnp.concatenate(leaves, axis=1)
    present = jnp.ones(x.shape[0], bool) if mask is None else mask.astype(bool)
    return jnp.where(present[:, None], x, 0.0), present


@dataclasses.dataclass(frozen=True)
class Vector:
    """Builds a `VectorEncoder`: for data of a fixed shape, whose values each have a meaning of their own."""

    width: int = 64
    depth: int = 2
    context: int = 32

    def build(self, key: PRNGKey, data: Any) -> VectorEncoder:
        """`data`: simulated data sets, leading axis data sets."""
        key_linear, key_network = jax.random.split(key)
        x = flat_sets(data)
        sizes = (x.shape[1], *[self.width] * self.depth, self.context)
        return VectorEncoder(
            standard(x), perceptron(key_linear, (x.shape[1], self.context)), perceptron(key_network, sizes)
        )


@dataclasses.dataclass(frozen=True)
class Set:
    """Builds a `SetEncoder`: for exchangeable rows. Raises `InputError` where arrays have no common leading axis."""

    width: int = 32
    blocks: int = 2
    heads: int = 4
    context: int = 32

    def build(self, key: PRNGKey, data: Any) -> SetEncoder:
        """`data`: simulated data sets, leading axis data sets, then rows."""
        lengths = {leaf.shape[1:2] for leaf in jax.tree.leaves(data)}
        if len(lengths) != 1 or () in lengths:
            raise InputError(f"A set wants arrays with a common leading axis of rows, got lengths {sorted(lengths)}")
        keys = jax.random.split(key, 3)
        x, present = map(np.asarray, _rows(data))
        order = np.argsort(~present.reshape(-1), stable=True)[: max(int(present.sum()), 2)]
        x = jnp.asarray(x.reshape(-1, x.shape[-1])[order])
        return SetEncoder(
            standard(x),
            perceptron(keys[0], (x.shape[1], self.width, self.width)),
            transformer(keys[1], self.width, self.blocks, self.heads),
            perceptron(keys[2], (self.width + 1, self.width, self.context)),
        )
