"""Builders: families of the dimension of a target, begun at a Gaussian."""

import abc
from typing import Any

import equinox as eqx
import jax.numpy as jnp

from jensen.core import Density, PRNGKey
from jensen.families.gaussian import DiagonalGaussian, Gaussian
from jensen.families.low_rank import LowRankGaussian, low_rank_from_gaussian


class Builder(eqx.Module):
    """Makes a member of a family that is, or is close to, a given Gaussian: where an algorithm begins.

    Sizes are static settings of the builder; it holds no arrays.
    """

    @abc.abstractmethod
    def build(self, key: PRNGKey, gaussian: Gaussian) -> Density:
        """A member of the family near `gaussian`; `key` is for weights that must not all be equal."""

    def build_for(self, key: PRNGKey, target: Any, gaussian: Gaussian) -> Density:
        """As `build`, for a family that follows the names or the structure of the target's unknowns."""
        return self.build(key, gaussian)

    def check(self, target: Any) -> None:
        """Refuse at the door a target that the family cannot fit. Raises `InputError`."""

    @property
    def discrete(self) -> bool:
        """Whether the family has members over whole numbers."""
        return False


class MeanField(Builder):
    """`DiagonalGaussian` with the mean and marginal variances of the Gaussian: s_i^2 = S_ii."""

    def build(self, key: PRNGKey, gaussian: Gaussian) -> DiagonalGaussian:
        return DiagonalGaussian(gaussian.mean, 0.5 * jnp.log(jnp.sum(jnp.tril(gaussian.scale_tril) ** 2, axis=1)))


class FullRank(Builder):
    """`Gaussian`: q = the Gaussian itself."""

    def build(self, key: PRNGKey, gaussian: Gaussian) -> Gaussian:
        return gaussian


class LowRank(Builder):
    """`LowRankGaussian` of `rank` factors: S = diag(s^2) + U U^T with U from the leading axes of the correlation."""

    rank: int = eqx.field(static=True, default=8)

    def build(self, key: PRNGKey, gaussian: Gaussian) -> LowRankGaussian:
        return low_rank_from_gaussian(key, gaussian, self.rank)
