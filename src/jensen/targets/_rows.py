"""Targets of conditionally independent rows, given by two functions."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jensen.core import InputError, Space, Target
from jensen.targets._log_density import Layout, layout_of


class RowsTarget(Target):
    """log p(z) = log_prior(tree(z)) + N/B sum over the B rows held of log_likelihood(tree(z), rows)_i.

    `data`: a PyTree of arrays, leading axis rows; all N of them, or the B of a minibatch. `num_rows`: N.
    """

    space: Space
    prior: Callable[..., Any] = eqx.field(static=True)
    likelihood: Callable[..., Any] = eqx.field(static=True)
    layout: Layout = eqx.field(static=True)
    data: Any
    num_rows: int = eqx.field(static=True)

    def log_density(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        rows = self.log_likelihood(z)
        return self.log_prior(z) + (self.num_rows / rows.shape[0]) * jnp.sum(rows)

    def log_prior(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        return jnp.asarray(self.prior(self.layout.tree(self.space.split(z))), z.dtype)

    def log_likelihood(self, z: Float[Array, " d"]) -> Float[Array, " batch"]:
        return jnp.asarray(self.likelihood(self.layout.tree(self.space.split(z)), self.data), z.dtype)

    def minibatch(self, rows: Int[Array, " batch"]) -> "RowsTarget":
        return eqx.tree_at(lambda t: t.data, self, jax.tree.map(lambda a: a[rows], self.data))


def from_rows(log_prior: Callable[..., Any], log_likelihood: Callable[..., Any], data: Any, example: Any) -> RowsTarget:
    """A target that can be seen through minibatches.

    Args:
        log_prior: `log_prior(tree) -> scalar`, of a PyTree of unconstrained arrays with the shapes of `example`.
        log_likelihood: `log_likelihood(tree, rows) -> (batch,)`, one number a row, where `rows` is `data` or some of
            its rows.
        data: a PyTree of arrays with a common leading axis of N rows.
        example: a PyTree with the shapes of the unknowns; they are named after its paths.

    Raises `InputError` if an argument is no function, data are empty, NaN or of unequal lengths, or an output has
    another shape than said. The functions are traced abstractly; nothing is computed or compiled.
    """
    for name, fn in (("log_prior", log_prior), ("log_likelihood", log_likelihood)):
        if not callable(fn):
            raise InputError(f"{name} must be callable, got {type(fn).__name__}")
    space, layout = layout_of(example)
    data = jax.tree.map(jnp.asarray, data)
    lengths = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(data)}
    if len(lengths) != 1 or () in lengths or (0,) in lengths:
        raise InputError(f"data must be arrays with a common leading axis of at least one row, got {sorted(lengths)}")
    for leaf in jax.tree.leaves(data):
        if jnp.issubdtype(leaf.dtype, jnp.floating) and not bool(np.all(np.isfinite(leaf))):
            raise InputError("data hold NaN or infinite values: drop or impute those rows first")
    (num_rows,) = lengths.pop()
    real = jnp.result_type(float)
    tree = jax.tree.unflatten(layout.treedef, [jax.ShapeDtypeStruct(s, real) for s in layout.shapes])
    for name, fn, rows, wanted in (
        ("log_prior", log_prior, (), ()),
        ("log_likelihood", log_likelihood, (data,), (num_rows,)),
    ):
        try:
            shape = getattr(eqx.filter_eval_shape(fn, tree, *rows), "shape", None)
        except (TypeError, KeyError, AttributeError) as error:
            raise InputError(f"{name} fails on a PyTree like example: {error}") from error
        if shape != wanted:
            raise InputError(f"{name} must return an array of shape {wanted}, got {shape}: one number a row")
    return RowsTarget(space, log_prior, log_likelihood, layout, data, num_rows)
