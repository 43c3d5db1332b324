"""Posterior families of a row's latents from an encoder's numbers: Gaussians, and what all such heads share."""

import abc

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.amortised import Head
from jensen.core import InputError
from jensen.families import DiagonalGaussian, Gaussian


class SizedHead(Head):
    """A density over `size` latents, made from `context` numbers. Raises `InputError` for a size below one."""

    size: int = eqx.field(static=True)

    def __check_init__(self):
        check_size(self.size)

    @property
    def dimension(self) -> int:
        return self.size

    @property
    @abc.abstractmethod
    def context(self) -> int:
        """Numbers that the encoder gives."""


class MeanField(SizedHead):
    """q(z | x) = N(m, diag(s^2)), (m, log s) = context, of 2 d numbers."""

    @property
    def context(self) -> int:
        return 2 * self.size

    def density(self, context: Float[Array, " c"]) -> DiagonalGaussian:
        return DiagonalGaussian(context[: self.size], context[self.size :])


class FullRank(SizedHead):
    """q(z | x) = N(m, L L^T), (m, log diag L, lower part of L) = context, of d + d (d + 1) / 2 numbers."""

    @property
    def context(self) -> int:
        return self.size + self.size * (self.size + 1) // 2

    def density(self, context: Float[Array, " c"]) -> Gaussian:
        d = self.size
        rows, columns = jnp.tril_indices(d, -1)
        tril = jnp.diag(jnp.exp(context[d : 2 * d])).at[rows, columns].set(context[2 * d :])
        return Gaussian(context[:d], tril)


def check_size(size: int) -> None:
    """Raises `InputError` for a latent dimension below one."""
    if size < 1:
        raise InputError(f"The latent dimension must be at least 1, got {size}")
