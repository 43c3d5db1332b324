"""Any JAX log density of a PyTree of unconstrained arrays as a target."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jensen.core import InputError, Space, Target
from jensen.targets._layout import Layout, layout_of


class LogDensityTarget(Target):
    """log p(z) = fn(tree(z)), for a function of a PyTree of real arrays; `args` are array leaves, `fn` is static."""

    space: Space
    fn: Callable[..., Any] = eqx.field(static=True)
    layout: Layout = eqx.field(static=True)
    args: tuple[Any, ...] = ()

    def log_density(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        return jnp.asarray(self.fn(self.layout.tree(self.space.split(z)), *self.args), z.dtype)


def from_log_density(fn: Any, example: Any, *args: Any) -> LogDensityTarget:
    """A target from `fn(tree, *args) -> scalar`, the log density up to a constant of a PyTree of unconstrained arrays.

    `example` is a PyTree of arrays with the shapes of the unknowns (its values are not used); unknowns are named after
    its paths (`z` for a bare array). Pass data through `args` rather than a closure, so that a second fit with new data
    of the same shapes compiles nothing.

    Raises `InputError` if `fn` is not callable, `example` holds no array or a non-numeric or empty one, or `fn` does
    not return a scalar. The check traces `fn` abstractly; nothing is computed or compiled.
    """
    if not callable(fn):
        raise InputError(f"fn must be callable, got {type(fn).__name__}: pass a function of one PyTree of arrays")
    space, layout = layout_of(example)
    args = jax.tree.map(lambda a: jnp.asarray(a) if isinstance(a, np.ndarray) else a, args)
    target = LogDensityTarget(space, fn, layout, args)
    real = jnp.result_type(float)
    tree = jax.tree.unflatten(layout.treedef, [jax.ShapeDtypeStruct(s, real) for s in layout.shapes])
    out = eqx.filter_eval_shape(fn, tree, *args)
    if not isinstance(out, jax.ShapeDtypeStruct) or out.shape != ():
        shown = out.shape if isinstance(out, jax.ShapeDtypeStruct) else type(out).__name__
        raise InputError(f"fn must return a scalar log density, got {shown}: sum over rows inside fn")
    return target
