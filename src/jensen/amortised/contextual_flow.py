"""A normalizing flow whose layers see a context vector."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jensen.amortised import spline
from jensen.amortised._layers import Perceptron, perceptron
from jensen.core import InputError, PRNGKey, Reparameterised

MAX_LOG_SCALE = 7.0


class ContextualFlow(Reparameterised):
    """log q(z | c) = log N(u; 0, I) + log |det du/dz|, u = T_n(... T_1((z - m) / s)), each T_i a coupling that sees c.

    Of the coordinates in the order of a layer the second half is moved, each by an affine map and then a monotone
    spline, whose numbers a perceptron makes of the first half and of c. In one dimension c alone decides.

    `networks`: that of each layer, leading axis layers. `context`: c, shape (c,). The inverse is in closed form, so
    that draws cost what densities cost.

    Source: Papamakarios, Nalisnick, Rezende, Mohamed and Lakshminarayanan (2021); splines: Durkan et al. (2019).
    """

    centre: Float[Array, " d"]
    spread: Float[Array, " d"]
    networks: Perceptron
    order: Int[Array, "layers d"]
    context: Float[Array, " c"]
    bins: int = eqx.field(static=True)

    @property
    def dimension(self) -> int:
        return self.centre.shape[0]

    def at(self, context: Float[Array, " c"]) -> "ContextualFlow":
        """The flow at another context."""
        return eqx.tree_at(lambda q: q.context, self, context)

    def _numbers(self, network: Perceptron, passive: Float[Array, " n"]) -> tuple[Array, Array, Any]:
        raw = network(jnp.concatenate([4 * jnp.tanh(passive / 4), self.context]))
        raw = raw.reshape(-1, 2 + spline.num_parameters(self.bins))
        log_scale = MAX_LOG_SCALE * jnp.tanh(raw[:, 0] / MAX_LOG_SCALE)
        return log_scale, raw[:, 1], jax.vmap(lambda r: spline.knots(r, self.bins))(raw[:, 2:])

    def to_noise(self, z: Float[Array, " d"]) -> tuple[Float[Array, " d"], Float[Array, ""]]:
        """u(z) and log |det du/dz|."""
        centre, spread = jax.lax.stop_gradient((self.centre, self.spread))
        n = self.dimension // 2

        def through(carry: tuple[Array, Array], layer: tuple[Perceptron, Array]) -> tuple[tuple[Array, Array], None]:
            (x, total), (network, order) = carry, layer
            x = x[order]
            log_scale, shift, knots = self._numbers(network, x[:n])
            y, log_slope = jax.vmap(spline.forward)(jnp.exp(log_scale) * x[n:] + shift, knots)
            return (jnp.concatenate([x[:n], y]), total + jnp.sum(log_scale + log_slope)), None

        # a scan, for the layers are alike: unrolled, they take minutes to compile
        begin = (z - centre) / spread, -jnp.sum(jnp.log(spread))
        return jax.lax.scan(through, begin, (self.networks, self.order))[0]

    def noise(self, key: PRNGKey) -> Float[Array, " d"]:
        return jax.random.normal(key, (self.dimension,), self.centre.dtype)

    def from_noise(self, eps: Float[Array, " d"]) -> Float[Array, " d"]:
        n = self.dimension // 2

        def back(x: Array, layer: tuple[Perceptron, Array]) -> tuple[Array, None]:
            network, order = layer
            log_scale, shift, knots = self._numbers(network, x[:n])
            y = (jax.vmap(spline.inverse)(x[n:], knots) - shift) * jnp.exp(-log_scale)
            return jnp.zeros_like(x).at[order].set(jnp.concatenate([x[:n], y])), None

        x, _ = jax.lax.scan(back, eps, (self.networks, self.order), reverse=True)
        return self.centre + self.spread * x

    def log_prob(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        u, log_det = self.to_noise(z)
        return -0.5 * (jnp.sum(u**2) + self.dimension * math.log(2 * math.pi)) + log_det

    def config(self) -> dict[str, Any]:
        width = self.networks.weights[0].shape[1]
        sizes = {"layers": self.order.shape[0], "bins": self.bins, "width": width, "context": self.context.shape[0]}
        return {"dimension": self.dimension, **sizes}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "ContextualFlow":
        d, layers, bins, width, context = (int(config[n]) for n in ("dimension", "layers", "bins", "width", "context"))
        return contextual_flow(jax.random.key(0), jnp.zeros(d), jnp.ones(d), context, layers, bins, width)


def contextual_flow(
    key: PRNGKey,
    centre: Float[Array, " d"],
    spread: Float[Array, " d"],
    context: int,
    layers: int,
    bins: int,
    width: int,
) -> ContextualFlow:
    """A flow that begins near N(centre, diag(spread^2)) whatever the context.

    Raises `InputError` for sizes below one.
    """
    if min(context, layers, bins, width) < 1:
        raise InputError(
            f"layers, knots, width and context must be at least 1, got {layers}, {bins}, {width}, {context}"
        )
    d = centre.shape[0]
    key_order, key_net = jax.random.split(key)
    sizes = (d // 2 + context, width, width, (d - d // 2) * (2 + spline.num_parameters(bins)))
    networks = eqx.filter_vmap(lambda k: perceptron(k, sizes, last=0.01))(jax.random.split(key_net, layers))
    draws = [jax.random.permutation(k, d) for k in jax.random.split(key_order, (layers + 1) // 2)]
    # a random order, then one that moves what the last left in place
    order = jnp.stack([o for first in draws for o in (first, jnp.arange(d)[::-1])][:layers]).astype(jnp.int32)
    return ContextualFlow(centre, spread, networks, order, jnp.zeros(context, centre.dtype), bins)
