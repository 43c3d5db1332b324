"""Any JAX log density of a PyTree of unconstrained arrays as a target."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from jensen.core import InputError, Space, Target, Variable


class LogDensityTarget(Target):
    """log p(z) = fn(tree(z)), for a function of a PyTree of real arrays; `args` are array leaves, `fn` is static."""

    space: Space
    fn: Callable[..., Any] = eqx.field(static=True)
    treedef: Any = eqx.field(static=True)
    shapes: tuple[tuple[int, ...], ...] = eqx.field(static=True)
    args: tuple[Any, ...] = ()

    def log_density(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        parts = [part.reshape(s) for part, s in zip(self.space.split(z).values(), self.shapes, strict=True)]
        return jnp.asarray(self.fn(jax.tree.unflatten(self.treedef, parts), *self.args), z.dtype)


def _name(path: Any) -> str:
    words = [str(getattr(k, "key", getattr(k, "name", getattr(k, "idx", k)))) for k in path]
    return ".".join(words) or "z"


def from_log_density(fn: Callable[..., Any], example: Any, *args: Any) -> LogDensityTarget:
    """A target from `fn(tree, *args) -> scalar`, the log density (up to a constant) of a PyTree of unconstrained arrays.

    `example` is a PyTree of arrays with the shapes of the unknowns (its values are not used); unknowns are named after
    its paths (`z` for a bare array). Pass data through `args` rather than a closure, so that a second fit with new data
    of the same shapes compiles nothing.

    Raises `InputError` if `fn` is not callable, `example` holds no array or a non-numeric or empty one, or `fn` does not
    return a scalar. The check traces `fn` abstractly; nothing is computed or compiled.
    """
    if not callable(fn):
        raise InputError(f"fn must be callable, got {type(fn).__name__}: pass a function of one PyTree of arrays")
    leaves, treedef = jax.tree_util.tree_flatten_with_path(example)
    if not leaves:
        raise InputError("example holds no array, so that there is no unknown: pass a PyTree with the shapes of the unknowns")
    for path, leaf in leaves:
        if not isinstance(leaf, int | float | np.ndarray | np.generic | jax.Array | jax.ShapeDtypeStruct):
            raise InputError(f"example{_name(path)} must be an array, got {type(leaf).__name__}")
        if np.size(leaf) == 0:
            raise InputError(f"{_name(path)!r} in example is empty (shape {np.shape(leaf)})")
    shapes = tuple(tuple(np.shape(leaf)) for _, leaf in leaves)
    space = Space(tuple(Variable(_name(path), shape) for (path, _), shape in zip(leaves, shapes, strict=True)))
    args = jax.tree.map(lambda a: jnp.asarray(a) if isinstance(a, np.ndarray) else a, args)
    target = LogDensityTarget(space, fn, treedef, shapes, args)
    real = jnp.result_type(float)
    tree = jax.tree.unflatten(treedef, [jax.ShapeDtypeStruct(s, real) for s in shapes])
    out = eqx.filter_eval_shape(fn, tree, *args)
    if not isinstance(out, jax.ShapeDtypeStruct) or out.shape != ():
        shown = out.shape if isinstance(out, jax.ShapeDtypeStruct) else type(out).__name__
        raise InputError(f"fn must return a scalar log density, got {shown}: sum over rows inside fn")
    return target


def ravel_example(example: Any) -> Float[Array, " d"]:
    """The vector z of a PyTree with the structure of `example`, in the order that `from_log_density` uses."""
    return ravel_pytree(example)[0].astype(jnp.result_type(float))
