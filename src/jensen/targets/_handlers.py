"""NumPyro effect handlers of our own; import this module lazily, it imports NumPyro."""

from typing import Any

import jax
import jax.numpy as jnp
from numpyro.distributions import ImproperUniform, biject_to
from numpyro.primitives import Messenger

from jensen.targets._one_hot import is_one_hot


class AllRows(Messenger):
    """Makes every subsampled plate see all of its rows; `found` collects such plates with their sizes."""

    def __init__(self, fn: Any):
        self.found: dict[str, int] = {}
        super().__init__(fn)

    def process_message(self, msg: Any) -> None:
        if msg["type"] == "plate" and msg["args"][1] is not None and msg["args"][1] != msg["args"][0]:
            self.found[msg["name"]] = msg["args"][0]
            msg["value"] = jnp.arange(msg["args"][0])


class Unobserve(Messenger):
    """Turns the observed sites `names` into free ones, so that data are drawn from the model."""

    def __init__(self, fn: Any, names: tuple[str, ...]):
        self.names = names
        super().__init__(fn)

    def process_message(self, msg: Any) -> None:
        if msg["type"] == "sample" and msg["name"] in self.names:
            shape = jnp.shape(msg["value"])
            batch = shape[: len(shape) - msg["fn"].event_dim]
            if batch != msg["fn"].batch_shape:  # data that broadcast against the distribution, without a plate
                msg["fn"] = msg["fn"].expand(batch)
            msg["value"], msg["is_observed"] = None, False


class CentreImproper(Messenger):
    """Gives latent sites whose prior cannot be sampled (improper priors) the value at the origin of R^d."""

    def process_message(self, msg: Any) -> None:
        if msg["type"] != "sample" or msg["value"] is not None or not isinstance(msg["fn"], ImproperUniform):
            return
        bijection = biject_to(msg["fn"].support)
        shape = tuple(msg["kwargs"].get("sample_shape", ())) + tuple(msg["fn"].shape())
        msg["value"] = bijection(jnp.zeros(bijection.inverse_shape(shape), jnp.result_type(float)))


class Constrain(Messenger):
    """Sets the latent sites to the constrained values of the unconstrained `values`, whole numbers by rounding.

    One-hot vectors are the nearest ones. Not `rounded`, discrete sites take their values as they are.
    """

    def __init__(self, fn: Any, values: dict[str, Any], rounded: bool = True):
        self.values, self.rounded = values, rounded
        super().__init__(fn)

    def process_message(self, msg: Any) -> None:
        if msg["type"] == "sample" and msg["name"] in self.values:
            value, support = self.values[msg["name"]], msg["fn"].support
            if not support.is_discrete:
                value = biject_to(support)(value)
            elif self.rounded and is_one_hot(support):
                value = jax.nn.one_hot(jnp.argmax(value, axis=-1), value.shape[-1], dtype=jnp.result_type(int))
            elif self.rounded:
                value = jnp.round(value).astype(jnp.result_type(int))
            msg["value"] = value


class Reobserve(Messenger):
    """Gives the observed sites in `data` these values in place of their own."""

    def __init__(self, fn: Any, data: dict[str, Any]):
        self.data = data
        super().__init__(fn)

    def process_message(self, msg: Any) -> None:
        if msg["type"] == "sample" and msg["name"] in self.data and msg["is_observed"]:
            msg["value"] = self.data[msg["name"]]
