"""A target seen through its rows in shuffled order, each once an epoch."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, UInt32

from jensen.core import PRNGKey, Target
from jensen.targets.wrappers._row_batches import RowBatches

# Rows up to which a permutation is had by sorting them all at every step: 10 us at 64 rows, 260 at 1,437, where the
# network takes 2 to 6. Below it the network would have too few rows and columns to forget how two places lay, which
# takes it (ROUNDS / 2) rounds at a chance of 1 in 8 each.
SORTED = 64
ROUNDS = 8  # of the Feistel network


class Shuffled(RowBatches):
    """The target through `batch_size` rows a step, without replacement: steps t of an epoch share one permutation.

    An epoch is N // B steps; the N mod B rows that it leaves out differ from epoch to epoch, so that each row is as
    likely at each step and estimates scaled by N/B have no bias. The order is a function of the run's key and the
    epoch alone: nothing is stored, and a resumed run goes on in the same order. Above 64 rows the permutation is a
    pseudorandom one whose places are computed one by one (a Feistel network), at a cost free of N.

    Where the target has `redraw(key)` (data drawn anew at each visit, as in dynamic binarisation), each minibatch is
    redrawn.

    Raises `MissingCapability` if the target has no rows, `InputError` unless 1 <= batch_size <= number of rows.

    Source: random reshuffling: Mishchenko, Khaled and Richtarik (2020); Feistel networks on any set: Black and Rogaway
    (2002).
    """

    @property
    def epoch(self) -> int:
        """Steps of an epoch."""
        return self.target.num_rows // self.batch_size

    def realise(self, key: PRNGKey) -> Target:
        key, key_redraw = jax.random.split(key)
        return self._visit(key, jnp.zeros((), jnp.int32), key_redraw)

    def realise_at(self, stream: PRNGKey, t: Int[Array, ""]) -> Target:
        """The rows of step t."""
        key_order, key_redraw = jax.random.split(stream)
        order = jax.random.fold_in(key_order, t // self.epoch)
        return self._visit(order, t % self.epoch, jax.random.fold_in(key_redraw, t))

    def _visit(self, key: PRNGKey, place: Int[Array, ""], key_redraw: PRNGKey) -> Target:
        places = place * self.batch_size + jnp.arange(self.batch_size)
        seen = self.target.minibatch(permuted(key, places, self.target.num_rows))
        return seen.redraw(key_redraw) if hasattr(seen, "redraw") else seen


def permuted(key: PRNGKey, places: Int[Array, " m"], n: int) -> Int[Array, " m"]:
    """The values at `places` of a random permutation of 0 .. n-1, a function of the key."""
    if n <= SORTED:
        return jax.random.permutation(key, n)[places]
    width = math.isqrt(n - 1) + 1
    height = -(-n // width)
    secrets = jax.random.bits(key, (ROUNDS,), jnp.uint32)

    def shuffle(x: UInt32[Array, " m"]) -> UInt32[Array, " m"]:
        low, high = x % jnp.uint32(width), x // jnp.uint32(width)
        for i in range(ROUNDS):
            if i % 2:
                high = (high + _mixed(low, secrets[i]) % jnp.uint32(height)) % jnp.uint32(height)
            else:
                low = (low + _mixed(high, secrets[i]) % jnp.uint32(width)) % jnp.uint32(width)
        return high * jnp.uint32(width) + low

    # a permutation of width * height places, walked on until it is back among the first n
    walked = jax.lax.while_loop(
        lambda x: jnp.any(x >= n), lambda x: jnp.where(x >= n, shuffle(x), x), shuffle(places.astype(jnp.uint32))
    )
    return walked.astype(places.dtype)


def _mixed(x: UInt32[Array, " m"], secret: UInt32[Array, ""]) -> UInt32[Array, " m"]:
    """A hash of x: multiplications and shifts that let every bit of the input reach every bit of the output."""
    x = (x ^ secret) * jnp.uint32(0x9E3779B1)
    x = (x ^ (x >> 15)) * jnp.uint32(0x85EBCA77)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE3D)
    return x ^ (x >> 16)
