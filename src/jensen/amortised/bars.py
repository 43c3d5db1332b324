"""Bar densities: histograms with normal tails."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import Density, InputError, PRNGKey

HALF = 0.6744897501960817  # the median of |N(0, 1)|


class Bars(Density):
    """q(z) = prod_i b_i(z_i), with b_i(y) = p_ij / (e_j+1 - e_j) for e_j <= y < e_j+1: coordinates are independent.

    `edges`: e, shape (bars + 1,), rising, the same for all coordinates. `logits`: shape (d, bars), p_i = softmax. The
    first and the last bar are half normals that fall off from their inner edge, half of their mass within the bar:
    every real number has positive density. A density narrower than a bar cannot be told.

    Source: Müller, Hollmann, Pineda Arango, Grabocka, Hutter (2022), Transformers can do Bayesian inference.
    """

    edges: Float[Array, " edges"]
    logits: Float[Array, "d bars"]

    @property
    def dimension(self) -> int:
        return self.logits.shape[0]

    def log_prob(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        last = self.logits.shape[1] - 1
        bar = jnp.clip(jnp.searchsorted(self.edges, z, side="right") - 1, 0, last)
        widths = jnp.diff(self.edges)
        mass = jnp.take_along_axis(jax.nn.log_softmax(self.logits), bar[:, None], axis=1)[:, 0]
        sigma = widths[bar] / HALF
        distance = jnp.where(bar == 0, self.edges[1] - z, z - self.edges[-2])
        tail = math.log(2) - 0.5 * math.log(2 * math.pi) - jnp.log(sigma) - 0.5 * (distance / sigma) ** 2
        within = jnp.where((bar == 0) | (bar == last), tail, -jnp.log(widths[bar]))
        return jnp.sum(mass + within)

    def sample(self, key: PRNGKey) -> Float[Array, " d"]:
        key_bar, key_within, key_tail = jax.random.split(key, 3)
        last, widths = self.logits.shape[1] - 1, jnp.diff(self.edges)
        bar = jax.random.categorical(key_bar, self.logits, axis=1)
        inside = self.edges[bar] + widths[bar] * jax.random.uniform(key_within, bar.shape, self.edges.dtype)
        far = jnp.abs(jax.random.normal(key_tail, bar.shape, self.edges.dtype)) * widths[bar] / HALF
        return jnp.where(bar == 0, self.edges[1] - far, jnp.where(bar == last, self.edges[-2] + far, inside))

    def mean_and_cov(self) -> tuple[Float[Array, " d"], Float[Array, "d d"]]:
        """Moments of the histogram with its tails, in closed form."""
        widths = jnp.diff(self.edges)
        mean, square = self.edges[:-1] + 0.5 * widths, widths**2 / 12
        sigma = widths / HALF
        shift = sigma * math.sqrt(2 / math.pi)
        mean = mean.at[0].set(self.edges[1] - shift[0]).at[-1].set(self.edges[-2] + shift[-1])
        ends = sigma**2 * (1 - 2 / math.pi)
        variance = square.at[0].set(ends[0]).at[-1].set(ends[-1])
        p = jax.nn.softmax(self.logits)
        centre = p @ mean
        return centre, jnp.diag(p @ (variance + mean**2) - centre**2)

    def config(self) -> dict[str, Any]:
        return {"dimension": self.dimension, "bars": self.logits.shape[1]}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Bars":
        bars = int(config["bars"])
        return cls(jnp.linspace(-1.0, 1.0, bars + 1), jnp.zeros((int(config["dimension"]), bars)))


def quantile_edges(values: Float[Array, "*n"], bars: int) -> Float[Array, " edges"]:
    """Edges of `bars` bars of equal mass under draws of the prior. Raises `InputError` for fewer than three bars."""
    if bars < 3 or values.size < 2 * bars:
        raise InputError(f"At least 3 bars and two draws of the prior a bar are wanted, got {bars} and {values.size}")
    return jnp.quantile(jnp.ravel(values), jnp.linspace(0.0, 1.0, bars + 1))
