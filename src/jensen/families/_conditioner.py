"""The networks that set the parameters of a flow's layers: plain stacked arrays, one slice a layer."""

import itertools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jensen.core import PRNGKey

SATURATION = 10.0  # of the inputs, in whitened units: a draw far out must not set parameters farther out still


class Network(eqx.Module):
    """A multilayer perceptron a layer of the flow, all of equal sizes.

    `weights`: arrays of shape (layers, out, in); `biases`: (layers, out); without the first axis inside a scan over
    layers.
    """

    weights: tuple[Float[Array, "..."], ...]
    biases: tuple[Float[Array, "..."], ...]

    def __call__(self, x: Float[Array, " n"], masks: tuple[np.ndarray, ...] | None) -> Float[Array, " out"]:
        """The output of the network of one flow layer (no leading axis), weights masked where `masks` are given."""
        last = len(self.weights) - 1
        x = SATURATION * jnp.tanh(x / SATURATION)
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = (weight if masks is None else weight * masks[i]) @ x + bias
            x = x if i == last else jax.nn.gelu(x)
        return x


def init_network(key: PRNGKey, sizes: tuple[int, ...], num: int) -> Network:
    """`num` networks with normal weights of variance 1 / fan-in and a last layer of zeros: outputs begin at zero."""
    keys = jax.random.split(key, len(sizes) - 1)
    weights, real = [], jnp.result_type(float)
    for i, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
        if i == len(sizes) - 2:
            weights.append(jnp.zeros((num, fan_out, fan_in), real))
        else:
            weights.append(jax.random.normal(keys[i], (num, fan_out, fan_in), real) / math.sqrt(max(fan_in, 1)))
    return Network(tuple(weights), tuple(jnp.zeros((num, n), real) for n in sizes[1:]))


def autoregressive_masks(dimension: int, width: int, depth: int, outputs: int) -> tuple[np.ndarray, ...]:
    """Masks by which outputs i see inputs < i only, `outputs` a coordinate. Germain et al. (2015)."""
    inputs = np.arange(dimension)
    hidden = np.arange(width) % max(dimension - 1, 1)
    ranks = [inputs, *[hidden] * depth, np.repeat(inputs, outputs)]
    masks = [after[:, None] >= before[None, :] for before, after in itertools.pairwise(ranks[:-1])]
    masks.append(ranks[-1][:, None] > ranks[-2][None, :])
    return tuple(m.astype(np.float32) for m in masks)
