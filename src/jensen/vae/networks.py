"""Encoders and decoders: perceptrons, convolutions, and the linear maps that have closed forms."""

import abc
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.amortised import Encoder
from jensen.core import InputError, PRNGKey
from jensen.core.compiled import sized


def gelu(x: Array) -> Array:
    """x Phi(x): by name in a module, so that networks can be pickled."""
    return jax.nn.gelu(x)


class Decoder(eqx.Module):
    """A trainable map from latents to raw numbers of a likelihood."""

    @abc.abstractmethod
    def __call__(self, z: Float[Array, " k"]) -> Float[Array, "n p"]:
        """Raw numbers of each of the n values."""


class SharedScale(Encoder):
    """c = (W x + b, r), r the same for all rows: of a linear Gaussian model, the form of the exact posterior."""

    weight: Float[Array, "k n"]
    bias: Float[Array, " k"]
    rest: Float[Array, " r"]

    def __call__(self, data: Float[Array, " n"]) -> Float[Array, " c"]:
        return jnp.concatenate([self.weight @ data + self.bias, self.rest])


class LinearDecoder(Decoder):
    """raw = W z + b, one number a value: what `ClosedGaussianElbo` and `probabilistic_pca` are for."""

    weight: Float[Array, "n k"]
    bias: Float[Array, " n"]

    def __call__(self, z: Float[Array, " k"]) -> Float[Array, "n 1"]:
        return (self.weight @ z + self.bias)[:, None]


class RowLinear(eqx.nn.Linear):
    """y = x W^T + b: `eqx.nn.Linear` with the row first.

    W x, over rows and over draws of each, is an array (outputs, rows, draws) to XLA, and what follows reads it across.
    """

    def __call__(self, x: Float[Array, " n"], *, key: Any = None) -> Float[Array, " m"]:
        y = x @ self.weight.T
        return y if self.bias is None else y + self.bias


class PerceptronEncoder(Encoder):
    """c = W_m gelu(... gelu(W_1 (x - centre) / spread)); centre and spread of the columns are kept, not trained."""

    centre: Float[Array, " n"]
    spread: Float[Array, " n"]
    network: eqx.nn.MLP | eqx.nn.Linear

    def __call__(self, data: Float[Array, " n"]) -> Float[Array, " c"]:
        centre, spread = jax.lax.stop_gradient((self.centre, self.spread))
        return self.network((data - centre) / spread)


class PerceptronDecoder(Decoder):
    """raw = start + W_m gelu(... gelu(W_1 z)); `start` begins at the columns' own marginals and is trained."""

    start: Float[Array, "n p"]
    network: eqx.nn.MLP | eqx.nn.Linear

    def __call__(self, z: Float[Array, " k"]) -> Float[Array, "n p"]:
        return self.start + self.network(z).reshape(self.start.shape)


class ConvolutionalEncoder(Encoder):
    """Images (height, width, channels), flat in the row: convolutions of 3 x 3 and stride 2, then a linear map."""

    centre: Float[Array, " n"]
    spread: Float[Array, " n"]
    layers: tuple[eqx.nn.Conv2d, ...]
    out: eqx.nn.Linear
    shape: tuple[int, int, int] = eqx.field(static=True)

    def __call__(self, data: Float[Array, " n"]) -> Float[Array, " c"]:
        centre, spread = jax.lax.stop_gradient((self.centre, self.spread))
        image = jnp.moveaxis(((data - centre) / spread).reshape(self.shape), -1, 0)
        for layer in self.layers:
            image = gelu(layer(image))
        return self.out(image.reshape(-1))


class ConvolutionalDecoder(Decoder):
    """The mirror of `ConvolutionalEncoder`: a linear map, then each layer doubles height and width and convolves."""

    start: Float[Array, "n p"]
    into: eqx.nn.Linear
    layers: tuple[eqx.nn.Conv2d, ...]
    shape: tuple[int, int, int] = eqx.field(static=True)

    def __call__(self, z: Float[Array, " k"]) -> Float[Array, "n p"]:
        height, width, channels = self.shape
        small = height // 2 ** len(self.layers), width // 2 ** len(self.layers)
        image = gelu(self.into(z)).reshape(-1, *small)
        for i, layer in enumerate(self.layers):
            image = layer(jnp.repeat(jnp.repeat(image, 2, axis=1), 2, axis=2))
            image = image if i == len(self.layers) - 1 else gelu(image)
        # raw numbers of a value lie side by side: channel c, output p is plane c * outputs + p
        planes = image.reshape(channels, -1, height, width)
        return self.start + jnp.transpose(planes, (2, 3, 0, 1)).reshape(self.start.shape)


@sized
def perceptron(key: PRNGKey, size: int, hidden: tuple[int, ...], out: int) -> eqx.nn.MLP | eqx.nn.Linear:
    """Layers of equal width; none at all make a linear map. Raises `InputError` for widths that differ."""
    if hidden and (len(set(hidden)) != 1 or hidden[0] < 1):
        raise InputError(f"hidden layers must be of one positive width, got {hidden}")
    sizes = (size, *hidden, out)
    keys = jax.random.split(key, len(sizes) - 1)  # as `eqx.nn.MLP` does
    make: Any = RowLinear
    if not hidden:
        return make(size, out, key=key)
    layers = tuple(make(a, b, key=k) for a, b, k in zip(sizes[:-1], sizes[1:], keys, strict=True))
    network = eqx.nn.MLP(size, out, hidden[0], len(hidden), activation=gelu, key=key)
    return eqx.tree_at(lambda n: n.layers, network, layers)


def perceptron_encoder(
    key: PRNGKey, centre: Float[Array, " n"], spread: Float[Array, " n"], hidden: tuple[int, ...], out: int
) -> PerceptronEncoder:
    """An encoder of rows of n values as `out` numbers."""
    return PerceptronEncoder(centre, spread, perceptron(key, centre.shape[0], hidden, out))


def perceptron_decoder(
    key: PRNGKey, latent: int, hidden: tuple[int, ...], start: Float[Array, "n p"]
) -> PerceptronDecoder:
    """A decoder of `latent` numbers that begins near `start`."""
    return PerceptronDecoder(start, perceptron(key, latent, hidden, start.size))


def check_image(shape: tuple[int, ...], layers: int) -> None:
    """Raises `InputError` unless an image can be halved `layers` times."""
    if len(shape) != 3 or min(shape) < 1 or shape[0] % 2**layers or shape[1] % 2**layers:
        raise InputError(
            f"Images must be (height, width, channels), height and width multiples of {2**layers}, got {shape}: "
            "pad them, or take fewer layers"
        )


@sized
def convolutional_encoder(
    key: PRNGKey,
    shape: tuple[int, int, int],
    centre: Float[Array, " n"],
    spread: Float[Array, " n"],
    channels: tuple[int, ...],
    out: int,
) -> ConvolutionalEncoder:
    """An encoder of images by a layer for each number of `channels`. Raises `InputError` for sizes that do not fit."""
    check_image(shape, len(channels))
    keys = jax.random.split(key, len(channels) + 1)
    sizes = (shape[2], *channels)
    layers = tuple(
        eqx.nn.Conv2d(a, b, 3, stride=2, padding=1, key=k)
        for a, b, k in zip(sizes[:-1], sizes[1:], keys[:-1], strict=True)
    )
    flat = math.prod(side // 2 ** len(channels) for side in shape[:2]) * channels[-1]
    return ConvolutionalEncoder(centre, spread, layers, eqx.nn.Linear(flat, out, key=keys[-1]), shape)


@sized
def convolutional_decoder(
    key: PRNGKey, latent: int, shape: tuple[int, int, int], channels: tuple[int, ...], start: Float[Array, "n p"]
) -> ConvolutionalDecoder:
    """The decoder that mirrors an encoder with these `channels`. Raises `InputError` for sizes that do not fit."""
    check_image(shape, len(channels))
    keys = jax.random.split(key, len(channels) + 1)
    sizes = (*channels[::-1], shape[2] * start.shape[1])
    layers = tuple(
        eqx.nn.Conv2d(a, b, 3, padding=1, key=k) for a, b, k in zip(sizes[:-1], sizes[1:], keys[:-1], strict=True)
    )
    flat = math.prod(side // 2 ** len(channels) for side in shape[:2]) * channels[-1]
    return ConvolutionalDecoder(start, eqx.nn.Linear(latent, flat, key=keys[-1]), layers, shape)
