"""Streams of randomness: one key a run, split by constant tags and then by step.

`stream(key, STEP)` folded with t is the key of step t, so that no chunk length, checkpoint or resume can change a draw,
and the draws of a certificate are disjoint from the draws of the run by construction.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

from jensen.core.haste import haste, trace_state_clean

INIT, STEP, BATCH, CERTIFY, RESTART, SEARCH, POSTERIOR, START = range(1, 9)

PRNGKey = Key[Array, ""]


def stream(key: PRNGKey, tag: int) -> PRNGKey:
    """The key of the stream `tag` of a run's `key`."""
    return _fold_in(key, tag)


def at_step(stream_key: PRNGKey, t: int | Int[Array, ""]) -> PRNGKey:
    """The key of step `t` in a stream."""
    return _fold_in(stream_key, t)


def _fold_in(key: PRNGKey, data: int | Int[Array, ""]) -> PRNGKey:
    if not trace_state_clean():
        return jax.random.fold_in(key, data)
    return _hasty_fold_in()(key, np.uint32(data))


@functools.cache
def _hasty_fold_in() -> Callable[[PRNGKey, np.uint32], PRNGKey]:
    """One small program; as JAX would compile it, it is a noticeable part of the time to a first posterior."""
    return jax.jit(jax.random.fold_in, compiler_options=haste())


def check_key(key: object) -> PRNGKey:
    """`key`, if it is one typed JAX key; else an error that says how to make one.

    Raises `InputError` for an int, an old-style uint32 key or a batch of keys.
    """
    from jensen.core.errors import InputError

    if not isinstance(key, jax.Array) or not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        raise InputError(f"key must be a typed JAX key, got {type(key).__name__}: pass key=jax.random.key(0)")
    if key.shape != ():
        raise InputError(f"key must be a single key, got a batch of shape {key.shape}: pass one key of it")
    return key
