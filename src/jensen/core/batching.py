"""A function of one row over many rows, some at a time."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jensen.core.compiled import widest_factorisation
from jensen.core.parallel import spread

LARGEST = 2**25  # numbers in the matrices that log densities factorise side by side: 256 MiB in double precision


def at_once(target: Any, most: int) -> int:
    """How many evaluations of the log density may run side by side, `most` at most.

    A Gaussian process of n rows holds n^2 numbers for each, several times: 500 of 1,000 rows would be tens of GiB.
    """
    return max(1, min(most, LARGEST // max(widest_factorisation(target) ** 2, 1)))


def in_batches(fn: Callable[[Any], Any], rows: Any, size: int) -> Any:
    """`jax.vmap(fn)(rows)` by a loop over equal batches of at most `size` rows: memory is that of one batch.

    Unlike `jax.lax.map` with a batch size there is no remainder, which would be a second program beside the loop: XLA
    for the CPU runs the two at once, and where both hold a batched factorisation (Cholesky) they can wait for each
    other for ever in a pool of two threads (docs/reliability.md). The last batch is filled up with its last row.
    """
    n = jax.tree.leaves(rows)[0].shape[0]
    count = -(-n // max(1, min(size, n)))
    length = -(-n // count)
    places = jnp.minimum(jnp.arange(count * length), n - 1).reshape(count, length)
    filled = jax.tree.map(lambda a: a[places], rows)
    out = jax.lax.map(lambda rows: jax.vmap(fn)(spread(rows)), filled)
    return jax.tree.map(lambda a: a.reshape(count * length, *a.shape[2:])[:n], out)
