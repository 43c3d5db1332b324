"""Families that have a density only together with auxiliary variables."""

import abc
from typing import Any

from jaxtyping import Array, Float

from jensen.core import InputError, PRNGKey, Reparameterised


class Augmented(Reparameterised):
    """A distribution of z whose density is known only together with auxiliary variables a that are drawn with it.

    `from_noise_and_log_prob` and `sample_and_log_prob` give z and log r, where r depends on a as well and

        E[f(z) / r] <= int f(z) dz   for every f >= 0   (equality, unless a class says otherwise),

    so that log p(z) - log r is a proper log weight: its mean, and importance-weighted bounds made of it, are lower
    bounds on the log evidence. They are below those of the marginal q(z), for E[log r | z] >= log q(z).

    `log_prob` raises `InputError`: an estimate in its place would make bounds that are none. Estimators that evaluate
    q at given points (`StickingTheLanding`) cannot have this family; `Reparameterisation` can.
    """

    @abc.abstractmethod
    def estimate_log_prob(self, key: PRNGKey, z: Float[Array, " d"]) -> Float[Array, ""]:
        """log of an unbiased estimate of q(z), hence at most log q(z) in expectation. Not for bounds."""

    def from_noise(self, eps: Any) -> Float[Array, " d"]:
        return self.from_noise_and_log_prob(eps)[0]

    @abc.abstractmethod
    def from_noise_and_log_prob(self, eps: Any) -> tuple[Float[Array, " d"], Float[Array, ""]]:
        """z(eps) and log r(eps), differentiable in the family's parameters."""

    def log_prob(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        raise InputError(
            f"{type(self).__name__} has a density only together with its auxiliary variables: train it with "
            "gradient_estimators.Reparameterisation, which needs that of its own draws alone; the marginal density is "
            "estimated by estimate_log_prob(key, z)"
        )
