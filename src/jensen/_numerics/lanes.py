"""Mapping over lanes, of which there is often one."""

from collections.abc import Callable
from typing import Any

import jax


def over_lanes(fn: Callable[..., Any]) -> Callable[..., Any]:
    """`jax.vmap(fn)`, but a single lane is computed as it is: batching takes as long to trace as all else."""

    def mapped(*args: Any) -> Any:
        if jax.tree.leaves(args)[0].shape[0] > 1:
            return jax.vmap(fn)(*args)
        value = fn(*jax.tree.map(lambda a: a[0], args))
        return jax.tree.map(lambda a: a[None], value)

    return mapped
