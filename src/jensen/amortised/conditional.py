"""Conditional densities q(z | data)."""

import abc
from typing import Any

import equinox as eqx
from jaxtyping import Array, Float

from jensen.amortised.encoders import Encoder
from jensen.core import Density, InputError, PRNGKey


class Conditional(eqx.Module):
    """A trainable map from data to densities on R^d."""

    @property
    @abc.abstractmethod
    def dimension(self) -> int:
        """d."""

    @abc.abstractmethod
    def given(self, data: Any) -> Density:
        """q(. | data)."""


class Head(eqx.Module):
    """A trainable map from context vectors to densities on R^d."""

    @property
    @abc.abstractmethod
    def dimension(self) -> int:
        """d."""

    @abc.abstractmethod
    def density(self, context: Float[Array, " c"]) -> Density:
        """The density of a context."""


class Encoded(Conditional):
    """q(z | data) = head(encoder(data))."""

    encoder: Encoder
    head: Head

    @property
    def dimension(self) -> int:
        return self.head.dimension

    def given(self, data: Any) -> Density:
        return self.head.density(self.encoder(data))


class Amortised(Density):
    """q(z) = q(z | data) at one data set, with the conditional's weights as trainable parameters.

    The family by which `GradientVI` trains a conditional density under `SimulatedKL`; the posterior of other data is
    `given(data)`.
    """

    conditional: Conditional
    data: Any

    @property
    def dimension(self) -> int:
        return self.conditional.dimension

    def given(self, data: Any) -> Density:
        """q(. | data)."""
        return self.conditional.given(data)

    def log_prob(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        return self.given(self.data).log_prob(z)

    def sample(self, key: PRNGKey) -> Float[Array, " d"]:
        return self.given(self.data).sample(key)

    def partition(self) -> tuple["Amortised", "Amortised"]:
        """The weights are trained, the data are not."""
        trainable, rest = eqx.partition(self.conditional, eqx.is_inexact_array)
        nothing = eqx.filter(self.data, False)
        return type(self)(trainable, nothing), type(self)(rest, self.data)  # pyright: ignore[reportCallIssue]

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Amortised":
        raise InputError("An amortised family is not saved as such: save the posterior of given data")
