"""Latents in layers: a deep latent Gaussian model, and a posterior with a block for each layer."""

import itertools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jensen.amortised import Head
from jensen.core import InputError, PRNGKey, Reparameterised
from jensen.vae.heads import SizedHead
from jensen.vae.networks import Decoder, perceptron


class Blocks(Reparameterised):
    """q(z) = prod_l q_l(z_l), z = (z_1, ..., z_L) laid side by side: blocks that are independent of each other.

    `parts`: reparameterised densities whose noise is a standard normal vector, such as Gaussians.
    """

    parts: tuple[Any, ...]

    @property
    def dimension(self) -> int:
        return sum(part.dimension for part in self.parts)

    def _split(self, z: Float[Array, " d"]) -> list[Float[Array, " k"]]:
        ends = np.cumsum([part.dimension for part in self.parts])[:-1]
        return jnp.split(z, ends)

    def noise(self, key: PRNGKey) -> Float[Array, " d"]:
        return jax.random.normal(key, (self.dimension,), self.parts[0].mean.dtype)

    def from_noise(self, eps: Float[Array, " d"]) -> Float[Array, " d"]:
        return jnp.concatenate([part.from_noise(e) for part, e in zip(self.parts, self._split(eps), strict=True)])

    def log_prob(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        blocks = zip(self.parts, self._split(z), strict=True)
        return jnp.sum(jnp.stack([part.log_prob(block) for part, block in blocks]))

    def entropy(self) -> Float[Array, ""]:
        """H(q) = sum_l H(q_l), in nats."""
        return jnp.sum(jnp.stack([part.entropy() for part in self.parts]))

    def mean_and_cov(self) -> tuple[Float[Array, " d"], Float[Array, "d d"]]:
        """Means side by side and a block-diagonal matrix."""
        moments = [part.mean_and_cov() for part in self.parts]
        return jnp.concatenate([m for m, _ in moments]), jax.scipy.linalg.block_diag(*(c for _, c in moments))

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Blocks":
        raise InputError("Blocks of densities are not saved as such: keep the parts")


class LayeredHead(Head):
    """q(z | x) = prod_l q_l(z_l | x), the encoder's numbers dealt out to `heads`, one a layer.

    Source: Rezende, Mohamed and Wierstra (2014).
    """

    heads: tuple[SizedHead, ...]

    @property
    def dimension(self) -> int:
        return sum(head.dimension for head in self.heads)

    @property
    def context(self) -> int:
        """Numbers that the encoder gives."""
        return sum(head.context for head in self.heads)

    def density(self, context: Float[Array, " c"]) -> Blocks:
        ends = np.cumsum([head.context for head in self.heads])[:-1]
        return Blocks(tuple(h.density(c) for h, c in zip(self.heads, jnp.split(context, ends), strict=True)))


class DeepLatentDecoder(Decoder):
    """h_L = G_L xi_L, h_l = T_l(h_l+1) + G_l xi_l, raw = start + T_0(h_1): noise enters at every layer.

    The latents are xi = (xi_1, ..., xi_L), independent standard normals laid side by side, lowest layer first; T_l are
    perceptrons, G_l matrices. Without noise in the lower layers (G = 0) it is a plain perceptron of xi_L.

    Source: Rezende, Mohamed and Wierstra (2014), deep latent Gaussian models.
    """

    start: Float[Array, "n p"]
    loadings: tuple[Float[Array, "_ _"], ...]
    networks: tuple[eqx.nn.MLP | eqx.nn.Linear, ...]

    def __call__(self, z: Float[Array, " k"]) -> Float[Array, "n p"]:
        ends = np.cumsum([loading.shape[1] for loading in self.loadings])[:-1]
        xi = jnp.split(z, ends)
        h = self.loadings[-1] @ xi[-1]
        for layer in reversed(range(len(xi) - 1)):
            h = self.networks[layer + 1](h) + self.loadings[layer] @ xi[layer]
        return self.start + self.networks[0](h).reshape(self.start.shape)


def deep_latent_decoder(
    key: PRNGKey, sizes: tuple[int, ...], hidden: tuple[int, ...], start: Float[Array, "n p"]
) -> DeepLatentDecoder:
    """A `DeepLatentDecoder` with `sizes` latents in its layers, lowest first; h_l has as many numbers as xi_l.

    `hidden`: of the perceptrons between layers. Raises `InputError` where a size is below one, or there is none.
    """
    if not sizes or min(sizes) < 1:
        raise InputError(f"A deep latent model needs layers of at least one latent, got sizes {sizes}")
    keys = jax.random.split(key, 2 * len(sizes))
    outs = (start.size, *sizes)
    networks = tuple(perceptron(k, a, hidden, b) for k, (b, a) in zip(keys, itertools.pairwise(outs), strict=False))
    loadings = tuple(jnp.eye(size, dtype=start.dtype) for size in sizes)
    return DeepLatentDecoder(start, loadings, networks)
