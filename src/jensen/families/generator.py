"""What an implicit distribution draws by: a smooth map of a few Gaussian numbers."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import PRNGKey
from jensen.families._conditioner import Network, init_network


class Generator(eqx.Module):
    """g: R^k -> R^d, smooth: the neural sampler of an `Implicit` distribution. All of its inexact arrays are trained.

    A class of your own is one more: `Implicit` asks for these four things and nothing else. What Jensen does not know
    is saved as draws.
    """

    @property
    @abc.abstractmethod
    def size(self) -> int:
        """k, the number of latent variables."""

    @abc.abstractmethod
    def __call__(self, e: Float[Array, " k"]) -> Float[Array, " d"]:
        """g(e)."""

    @abc.abstractmethod
    def config(self) -> dict[str, Any]:
        """Sizes as plain data, from which `from_config` makes one of the same structure."""

    @classmethod
    @abc.abstractmethod
    def from_config(cls, config: dict[str, Any], dimension: int) -> "Generator":
        """A generator into R^`dimension` of the structure that `config` tells; its arrays are placeholders."""


class DenseGenerator(Generator):
    """g(e) = b + A e + f(e), f a perceptron.

    `linear`, `shift`: A, shape (d, k), and b. `network`: f, its arrays with a leading axis of one.
    """

    linear: Float[Array, "d k"]
    shift: Float[Array, " d"]
    network: Network

    @property
    def size(self) -> int:
        return self.linear.shape[1]

    def __call__(self, e: Float[Array, " k"]) -> Float[Array, " d"]:
        return self.shift + self.linear @ e + jax.tree.map(lambda a: a[0], self.network)(e, None)

    def config(self) -> dict[str, Any]:
        weights = self.network.weights
        return {"size": self.size, "width": weights[0].shape[1], "depth": len(weights) - 1}

    @classmethod
    def from_config(cls, config: dict[str, Any], dimension: int) -> "DenseGenerator":
        size, width, depth = (int(config[name]) for name in ("size", "width", "depth"))
        return init_dense_generator(jax.random.key(0), size, dimension, width, depth)


def init_dense_generator(key: PRNGKey, size: int, dimension: int, width: int, depth: int) -> DenseGenerator:
    """The first `size` coordinates as they are, the others zero: f begins at zero."""
    network = init_network(key, (size, *(width,) * depth, dimension), 1)
    real = network.biases[-1].dtype
    return DenseGenerator(jnp.eye(dimension, size, dtype=real), jnp.zeros(dimension, real), network)
