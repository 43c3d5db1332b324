"""Networks that the amortised posteriors share: a perceptron and a transformer, as plain arrays."""

import itertools
import math
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jensen.core import Compiled, InputError, PRNGKey
from jensen.core.compiled import PASSES, sized

MASKED = -1e9  # a logit that softmax takes to zero in either float width


class Perceptron(eqx.Module):
    """x -> W_n gelu(... gelu(W_1 x + b_1)) + b_n."""

    weights: tuple[Float[Array, "..."], ...]
    biases: tuple[Float[Array, "..."], ...]

    def __call__(self, x: Float[Array, " n"]) -> Float[Array, " m"]:
        last = len(self.weights) - 1
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = x @ weight.T + bias  # over rows and draws W x would be read across by what follows
            x = x if i == last else jax.nn.gelu(x)
        return x


@sized
def perceptron(key: PRNGKey, sizes: tuple[int, ...], last: float = 1.0) -> Perceptron:
    """Normal weights of variance 1 / fan-in, those of the last layer times `last`; biases zero."""
    weights, real = [], jnp.result_type(float)
    pairs = list(itertools.pairwise(sizes))
    for i, (k, (fan_in, fan_out)) in enumerate(zip(jax.random.split(key, len(pairs)), pairs, strict=True)):
        size = (last if i == len(pairs) - 1 else 1.0) / math.sqrt(max(fan_in, 1))
        weights.append(size * jax.random.normal(k, (fan_out, fan_in), real))
    return Perceptron(tuple(weights), tuple(jnp.zeros(n, real) for n in sizes[1:]))


class Transformer(eqx.Module):
    """Blocks x <- x + attention(norm x), x <- x + perceptron(norm x), all weights with a leading axis of blocks.

    There is no code of position: permuting tokens (and the mask with them) permutes the output.
    """

    query: Float[Array, "blocks w w"]
    key: Float[Array, "blocks w w"]
    value: Float[Array, "blocks w w"]
    out: Float[Array, "blocks w w"]
    up: Float[Array, "blocks h w"]
    up_bias: Float[Array, "blocks h"]
    down: Float[Array, "blocks w h"]
    down_bias: Float[Array, "blocks w"]
    scale: Float[Array, "blocks 2 w"]
    shift: Float[Array, "blocks 2 w"]
    heads: int = eqx.field(static=True)

    def __call__(self, x: Float[Array, "n w"], mask: Bool[Array, "n n"]) -> Float[Array, "n w"]:
        """Tokens after all blocks; `mask[i, j]` says whether token i sees token j (at least one of them)."""
        n, w = x.shape

        def attend(x: Array, p: "Transformer") -> Array:
            q, k, v = ((x @ m.T).reshape(n, self.heads, w // self.heads) for m in (p.query, p.key, p.value))
            logits = jnp.einsum("ihd,jhd->hij", q, k) / math.sqrt(w // self.heads)
            weights = jax.nn.softmax(jnp.where(mask, logits, MASKED), axis=-1)
            return jnp.einsum("hij,jhd->ihd", weights, v).reshape(n, w) @ p.out.T

        def block(x: Array, p: "Transformer") -> tuple[Array, None]:
            x = x + attend(_normalise(x, p.scale[0], p.shift[0]), p)
            hidden = jax.nn.gelu(_normalise(x, p.scale[1], p.shift[1]) @ p.up.T + p.up_bias)
            return x + hidden @ p.down.T + p.down_bias, None

        return jax.lax.scan(block, x, self)[0]


def _normalise(x: Float[Array, "n w"], scale: Float[Array, " w"], shift: Float[Array, " w"]) -> Float[Array, "n w"]:
    centred = x - jnp.mean(x, -1, keepdims=True)
    return scale * centred * jax.lax.rsqrt(jnp.mean(centred**2, -1, keepdims=True) + 1e-5) + shift


@sized
def transformer(key: PRNGKey, width: int, blocks: int, heads: int) -> Transformer:
    """A transformer whose blocks begin as the identity: weights that end a residual branch are zero.

    Raises `InputError` unless `heads` divides `width`.
    """
    if width % heads or min(width, blocks, heads) < 1:
        raise InputError(f"The width of a transformer must be a multiple of its heads, got {width} and {heads}")
    real, hidden = jnp.result_type(float), 2 * width
    keys = jax.random.split(key, 4)
    square = [jax.random.normal(k, (blocks, width, width), real) / math.sqrt(width) for k in keys[:3]]
    up = jax.random.normal(keys[3], (blocks, hidden, width), real) / math.sqrt(width)
    return Transformer(
        square[0],
        square[1],
        square[2],
        jnp.zeros((blocks, width, width), real),
        up,
        jnp.zeros((blocks, hidden), real),
        jnp.zeros((blocks, width, hidden), real),
        jnp.zeros((blocks, width), real),
        jnp.ones((blocks, 2, width), real),
        jnp.zeros((blocks, 2, width), real),
        heads,
    )


class Standard(eqx.Module):
    """x -> arcsinh((x - m) / s): features of moderate size, whatever units and tails they come with; not trained."""

    centre: Float[Array, " n"]
    spread: Float[Array, " n"]

    def __call__(self, x: Float[Array, "*rows n"]) -> Float[Array, "*rows n"]:
        centre, spread = jax.lax.stop_gradient((self.centre, self.spread))
        return jnp.arcsinh((x - centre) / spread)


@partial(Compiled, small=PASSES)
def standard(rows: Float[Array, "rows n"]) -> Standard:
    """The moments of `rows`; a feature that does not vary has spread one."""
    spread = jnp.std(rows, 0)
    return Standard(jnp.mean(rows, 0), jnp.where(spread > 0, spread, 1.0))
