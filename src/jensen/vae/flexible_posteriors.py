"""Posterior families of a row's latents beyond Gaussians: a normalizing flow, and a sampler without a density."""

import abc
import math
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.amortised import ContextualFlow, FlowHead, SplineFlow
from jensen.core import GradientEstimator, InputError, PRNGKey, Reparameterised
from jensen.families.augmented import Augmented
from jensen.families.bijective import log_standard_normal
from jensen.gradient_estimators import Reparameterisation, StickingTheLanding
from jensen.vae.heads import SizedHead, check_size
from jensen.vae.networks import perceptron

PAIRS, ROUNDS = 256, 16  # of antithetic draws that moments are computed from, and how many goes make them
LAYERS, KNOTS, WIDTH, FEATURES, MIXED = 4, 8, 32, 16, 16
BEGUN = 0.1  # times usual weights of the last layer of an implicit posterior


class ByDraws(eqx.Module):
    """Moments of a reparameterised q without closed ones, from fixed noise: the same row gives the same codes."""

    mean: eqx.AbstractVar[Float[Array, " d"]]

    @abc.abstractmethod
    def antithetic(self, key: PRNGKey, n: int) -> Float[Array, "m d"]:
        """2 n draws by noise and its mirror image."""

    def mean_and_cov(self) -> tuple[Float[Array, " d"], Float[Array, "d d"]]:
        """Of 256 pairs of draws: a mean's standard error is at most s / 22, and a variance's about s^2 / 11."""

        # some draws at a time: all of them for all rows of a data set would not fit into memory
        def more(carry: Any, key: PRNGKey) -> tuple[Any, None]:
            off = self.antithetic(key, PAIRS // ROUNDS) - self.mean
            return (carry[0] + jnp.sum(off, 0), carry[1] + off.T @ off), None

        begin = jnp.zeros_like(self.mean), jnp.zeros((self.mean.shape[0],) * 2, self.mean.dtype)
        sums, squares = jax.lax.scan(more, begin, jax.random.split(jax.random.key(0), ROUNDS))[0]
        shift = sums / (2 * PAIRS)
        return self.mean + shift, squares / (2 * PAIRS) - jnp.outer(shift, shift)


class MovedFlow(ByDraws, Reparameterised):
    """q(z) = flow((z - m) / s) / prod s: a flow near N(0, I), moved and scaled."""

    estimator: ClassVar[GradientEstimator] = StickingTheLanding(num_draws=1)
    flow: ContextualFlow
    mean: Float[Array, " d"]
    log_scale: Float[Array, " d"]

    @property
    def dimension(self) -> int:
        return self.mean.shape[0]

    def noise(self, key: PRNGKey) -> Float[Array, " d"]:
        return self.flow.noise(key)

    def from_noise(self, eps: Float[Array, " d"]) -> Float[Array, " d"]:
        return self.mean + jnp.exp(self.log_scale) * self.flow.from_noise(eps)

    def log_prob(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        return self.flow.log_prob((z - self.mean) * jnp.exp(-self.log_scale)) - jnp.sum(self.log_scale)

    def antithetic(self, key: PRNGKey, n: int) -> Float[Array, "m d"]:
        eps = jax.random.normal(key, (n, self.dimension), self.mean.dtype)
        return jax.vmap(self.from_noise)(jnp.concatenate([eps, -eps]))

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "MovedFlow":
        raise InputError("A posterior of one row is not saved as such: save the autoencoder (VAE.save)")


class SemiImplicit(ByDraws, Augmented):
    """q(z) = int N(z; m + s f(e, h), diag(s^2)) N(e; 0, I) de, f a network that sees features h of the row.

    Its density is no closed form. With the e_0 that made z and e_1 .. e_K ~ N(0, I),

        log r = log 1/(K+1) sum_{j=0..K} N(z; m + s f(e_j, h), diag(s^2)),   E[g(z) / r] = int g   for every g >= 0,

    so that bounds made of it hold for every K, and are tighter the larger K is; K = `num_auxiliary`. It can have
    several modes and any dependence; where a flow does, take the flow, whose density is exact.

    Source: Yin and Zhou (2018), Semi-implicit variational inference; Molchanov, Kharitonov, Sobolev and Vetrov (2019).
    """

    estimator: ClassVar[GradientEstimator] = Reparameterisation(num_draws=1)
    network: eqx.nn.MLP | eqx.nn.Linear
    mean: Float[Array, " d"]
    log_scale: Float[Array, " d"]
    features: Float[Array, " h"]
    size: int = eqx.field(static=True)
    num_auxiliary: int = eqx.field(static=True)

    @property
    def dimension(self) -> int:
        return self.mean.shape[0]

    def noise(self, key: PRNGKey) -> tuple[Float[Array, "m e"], Float[Array, " d"]]:
        """The K + 1 values of e, the first of which makes z, and the noise about its image."""
        key_mixing, key_noise = jax.random.split(key)
        mixing = jax.random.normal(key_mixing, (self.num_auxiliary + 1, self.size), self.mean.dtype)
        return mixing, jax.random.normal(key_noise, self.mean.shape, self.mean.dtype)

    def from_noise_and_log_prob(self, eps: Any) -> tuple[Float[Array, " d"], Float[Array, ""]]:
        mixing, noise = eps
        images = self._images(mixing)
        x = images[0] + noise
        return self.mean + jnp.exp(self.log_scale) * x, self._mixed(x, images)

    def from_noise(self, eps: Any) -> Float[Array, " d"]:
        mixing, noise = eps
        return self.mean + jnp.exp(self.log_scale) * (self._images(mixing[:1])[0] + noise)

    def estimate_log_prob(self, key: PRNGKey, z: Float[Array, " d"]) -> Float[Array, ""]:
        mixing = jax.random.normal(key, (max(self.num_auxiliary, 1), self.size), self.mean.dtype)
        return self._mixed((z - self.mean) * jnp.exp(-self.log_scale), self._images(mixing))

    def antithetic(self, key: PRNGKey, n: int) -> Float[Array, "m d"]:
        key_mixing, key_noise = jax.random.split(key)
        e = jax.random.normal(key_mixing, (n, self.size), self.mean.dtype)
        eta = jax.random.normal(key_noise, (n, self.dimension), self.mean.dtype)
        x = self._images(jnp.concatenate([e, -e])) + jnp.concatenate([eta, -eta])
        return self.mean + jnp.exp(self.log_scale) * x

    def _images(self, mixing: Float[Array, "m e"]) -> Float[Array, "m d"]:
        return jax.vmap(lambda e: self.network(jnp.concatenate([e, self.features])))(mixing)

    def _mixed(self, x: Float[Array, " d"], images: Float[Array, "m d"]) -> Float[Array, ""]:
        each = jax.vmap(lambda image: log_standard_normal(x - image))(images)
        return jax.nn.logsumexp(each) - math.log(each.shape[0]) - jnp.sum(self.log_scale)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "SemiImplicit":
        raise InputError("A posterior of one row is not saved as such: save the autoencoder (VAE.save)")


class FlowPosterior(SizedHead):
    """q(z | x): spline couplings that see 16 features of the row, then moved by m and scaled by s; begins mean-field.

    (m, log s, atanh features) = context. Densities are exact; a draw with its density costs two passes of four layers.

    Source: Rezende and Mohamed (2015), Variational inference with normalizing flows; splines: Durkan, Bekasov, Murray
    and Papamakarios (2019).
    """

    flow: FlowHead

    @property
    def context(self) -> int:
        return 2 * self.size + FEATURES

    def density(self, context: Float[Array, " c"]) -> MovedFlow:
        d = self.size
        flow = self.flow.density(jnp.tanh(context[2 * d :]))
        # the flow's own centre and spread are no unknowns: its inverse holds them still, and its forward map must too
        still = jax.lax.stop_gradient((flow.centre, flow.spread))
        flow = eqx.tree_at(lambda f: (f.centre, f.spread), flow, still)
        make: Any = MovedFlow
        return make(flow, context[:d], context[d : 2 * d])


class ImplicitPosterior(SizedHead):
    """q(z | x): `SemiImplicit` of (m, log s, atanh features) = context, with one network for all rows.

    Source: Yin and Zhou (2018), Semi-implicit variational inference.
    """

    network: eqx.nn.MLP | eqx.nn.Linear
    num_auxiliary: int = eqx.field(static=True, default=MIXED)

    @property
    def context(self) -> int:
        return 2 * self.size + FEATURES

    def density(self, context: Float[Array, " c"]) -> SemiImplicit:
        d = self.size
        make: Any = SemiImplicit
        features = jnp.tanh(context[2 * d :])
        return make(self.network, context[:d], context[d : 2 * d], features, d, self.num_auxiliary)


def flow_posterior(key: PRNGKey, size: int) -> FlowPosterior:
    """A flow over `size` latents, whose maps begin near the identity. Raises `InputError` for a size below one."""
    check_size(size)
    ends = jnp.ones((2, size)).at[0].set(-1.0)  # of mean zero and deviation one: the flow's own units
    make: Any = FlowPosterior
    return make(size, SplineFlow(LAYERS, KNOTS, WIDTH).build(key, ends, FEATURES))


def implicit_posterior(key: PRNGKey, size: int, num_auxiliary: int = MIXED) -> ImplicitPosterior:
    """A mixture of Gaussians over `size` latents, mixed by a network. Raises `InputError` for sizes below one."""
    if num_auxiliary < 1:
        raise InputError(f"num_auxiliary must be at least 1, got {num_auxiliary}")
    check_size(size)
    network: Any = perceptron(key, size + FEATURES, (WIDTH, WIDTH), size)
    # of small images first, so that training starts next to mean-field and not by undoing a random mixture
    last = lambda n: (n.layers[-1].weight, n.layers[-1].bias)  # noqa: E731
    network = eqx.tree_at(last, network, [BEGUN * a for a in last(network)])
    make: Any = ImplicitPosterior
    return make(size, network, num_auxiliary)
