"""Random networks of finite width, to be held against their limits."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import InputError, PRNGKey, Scalar, require, scalar_field
from jensen.gp.infinite_width.activations import Activation, ReLU
from jensen.gp.infinite_width.ensembles import IID, WeightEnsemble


class RandomNetwork(eqx.Module):
    """A fully connected network of `depth` hidden layers of `width` units with random weights; its limit is `NNGP`.

    h_1 = sqrt(w) W_1 x + b_1, h_{l+1} = sqrt(w) W_{l+1} phi(h_l) + b_{l+1}. W_1 is iid Gaussian, as the theorem asks
    for, the others are of the `ensemble`, the last one (to `outputs` numbers) of `readout` or else of the `ensemble`.
    Biases are N(0, `bias_variance`). All inputs of one call go through one network; weights are drawn through their
    action on the inputs alone, O(depth width p^2) for p inputs, so that ten thousand wide networks take seconds.

    Raises `InputError` for sizes below 1.
    """

    activation: Activation = ReLU()
    ensemble: WeightEnsemble = IID()
    readout: WeightEnsemble | None = None
    width: int = eqx.field(static=True, default=256)
    depth: int = eqx.field(static=True, default=1)
    outputs: int = eqx.field(static=True, default=1)
    weight_variance: Scalar = scalar_field(2.0)
    bias_variance: Scalar = scalar_field(0.1)

    def __check_init__(self):
        sizes = (self.width, self.depth, self.outputs)
        require(min(sizes) >= 1, f"width, depth and outputs must be 1 or more, got {sizes}", InputError)

    def hidden(self, key: PRNGKey, x: Float[Array, "p d"]) -> Float[Array, "p width"]:
        """phi of the last hidden layer, of one network, at the inputs x."""
        return self._hidden(key, x, self._biases(key, x.dtype)[0]).T

    def __call__(self, key: PRNGKey, x: Float[Array, "p d"]) -> Float[Array, "p outputs"]:
        """The outputs of one network at the inputs x."""
        below, above = self._biases(key, x.dtype)
        last = jax.random.fold_in(key, self.depth)
        return (
            self._weighted(last, self.readout or self.ensemble, self._hidden(key, x, below), self.outputs) + above
        ).T

    def _hidden(self, key: PRNGKey, x: Float[Array, "p d"], biases: Float[Array, "l w 1"]) -> Float[Array, "w p"]:
        h = self._weighted(jax.random.fold_in(key, 0), IID(), x.T, self.width) + biases[0]

        def layer(h: Array, at: tuple[Array, Array]) -> tuple[Array, None]:
            number, bias = at
            weights = jax.random.fold_in(key, number)
            return self._weighted(weights, self.ensemble, self.activation(h), self.width) + bias, None

        return self.activation(jax.lax.scan(layer, h, (jnp.arange(1, self.depth), biases[1:]))[0])

    def _weighted(
        self, key: PRNGKey, ensemble: WeightEnsemble, z: Float[Array, "n_in p"], n_out: int
    ) -> Float[Array, "n_out p"]:
        return jnp.sqrt(self.weight_variance) * ensemble.apply(key, z, n_out)

    def _biases(self, key: PRNGKey, dtype: Any) -> tuple[Float[Array, "l w 1"], Float[Array, "o 1"]]:
        # in one call of the generator, which takes a third of a second to compile
        hidden = self.depth * self.width
        numbers = jax.random.normal(jax.random.fold_in(key, self.depth + 1), (hidden + self.outputs, 1), dtype)
        numbers = jnp.sqrt(self.bias_variance) * numbers
        return numbers[:hidden].reshape(self.depth, self.width, 1), numbers[hidden:]


class ResidualNetwork(eqx.Module):
    """Y_0 = W_in x, Y_l = Y_{l-1} + sqrt(w / L) W_l phi(Y_{l-1}), l = 1..L = `depth`; its limit is `ResidualNNGP`.

    Weights are iid Gaussian, of variance 1 / d in W_in and 1 / `width` in the others. Branches without a scale are had
    by w = L, branches scaled by 1 / L by w = 1 / L. Raises `InputError` for sizes below 1.

    Source: Hayou and Yang (2023), Width and depth limits commute in residual networks.
    """

    activation: Activation = ReLU()
    width: int = eqx.field(static=True, default=256)
    depth: int = eqx.field(static=True, default=10)
    weight_variance: Scalar = scalar_field(1.0)

    def __check_init__(self):
        sizes = (self.width, self.depth)
        require(min(sizes) >= 1, f"width and depth must be 1 or more, got {sizes}", InputError)

    def __call__(self, key: PRNGKey, x: Float[Array, "p d"]) -> Float[Array, "p width"]:
        """Y_L of one network at the inputs x."""
        first, rest = jax.random.split(key)
        scale = jnp.sqrt(self.weight_variance / self.depth)

        def block(y: Array, key: PRNGKey) -> tuple[Array, None]:
            return y + scale * IID().apply(key, self.activation(y), self.width), None

        start = IID().apply(first, x.T, self.width)
        return jax.lax.scan(block, start, jax.random.split(rest, self.depth))[0].T


def draw_networks(
    key: PRNGKey,
    network: Callable[[PRNGKey, Float[Array, "p d"]], Array],
    x: Float[Array, "p d"],
    n: int,
    batch: int = 500,
) -> Array:
    """`network(key, x)` of n independent networks, leading axis n, `batch` of them in memory at a time."""
    from jensen.core import in_batches

    return in_batches(lambda k: network(k, x), jax.random.split(key, n), batch)
