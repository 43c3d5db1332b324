"""Compiling a run's programs before they are called, in other threads."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jensen._run.chunk import begin, first, program
from jensen.core import Algorithm, Posterior, PRNGKey, Streams

DEFAULT_CHUNK = 100


def prepare(
    algorithm: Algorithm, target: Any, key: PRNGKey, start: Posterior | None, chunk: int = DEFAULT_CHUNK
) -> Any:
    """Trace the two programs of a run here, and have them compiled by other threads meanwhile.

    Returns the form of the first state, zeros in place of its values; None if they were prepared before, or if rows are
    read while the run goes on: its programs are of the batches that it will be fed.
    """
    if isinstance(target, Streams):
        return None
    if not begin.form(algorithm, target, key, start).ahead(algorithm, target, key, start):
        return None
    shapes, _, _ = eqx.filter_eval_shape(first, algorithm, target, key, start)
    state = jax.tree.map(_zeros, shapes)
    program(algorithm, target).ahead(algorithm, target, state, key, bounds(0, 0, 0), chunk)
    return state


def bounds(start: int, until: int, total: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The arguments of a chunk that change from one to the next, as arrays."""
    return jax.device_put(tuple(np.int32(n) for n in (start, until, total)))


def _zeros(leaf: Any) -> Any:
    if not isinstance(leaf, jax.ShapeDtypeStruct):
        return leaf
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jnp.broadcast_to(jax.random.key(0), leaf.shape)
    return jax.device_put(np.zeros(leaf.shape, leaf.dtype))
