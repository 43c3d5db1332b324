"""Continuous mixtures of Gaussians, with a bound on their density."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

from jensen.core import InputError, PRNGKey
from jensen.families._builders import Builder
from jensen.families._conditioner import Network, init_network
from jensen.families.augmented import Augmented
from jensen.families.bijective import log_standard_normal
from jensen.families.gaussian import Gaussian

MAX_LOG_SCALE = 3.0  # by which networks may change a conditional scale

Noise = tuple[Float[Array, " k"], Float[Array, " d"], Float[Array, "m k"]]


class Conditional(eqx.Module):
    """N(b + A x + f(x), diag(exp(c + g(x))^2)) given x, with f and g from one network.

    `linear`: A, shape (out, in). `shift`: b and `log_scale`: c, shape (out,).
    """

    linear: Float[Array, "out in"]
    shift: Float[Array, " out"]
    log_scale: Float[Array, " out"]
    network: Network

    def parameters(self, x: Float[Array, " in"]) -> tuple[Float[Array, " out"], Float[Array, " out"]]:
        """Mean and log sd."""
        raw = jax.tree.map(lambda a: a[0], self.network)(x, None)
        n = self.shift.shape[0]
        bend = MAX_LOG_SCALE * jnp.tanh(raw[n:] / MAX_LOG_SCALE)
        return self.shift + self.linear @ x + raw[:n], self.log_scale + bend

    def draw(self, x: Float[Array, " in"], eps: Float[Array, " out"]) -> Float[Array, " out"]:
        mean, log_scale = self.parameters(x)
        return mean + jnp.exp(log_scale) * eps

    def log_prob(self, y: Float[Array, " out"], x: Float[Array, " in"]) -> Float[Array, ""]:
        """log density of y given x."""
        mean, log_scale = self.parameters(x)
        return log_standard_normal((y - mean) * jnp.exp(-log_scale)) - jnp.sum(log_scale)


class Hierarchical(Augmented):
    """q(z) = int q(z | e) N(e; 0, I_k) de: a continuous mixture, any Gaussian conditional, k auxiliary variables.

    With e_0 the one that made z and e_1 .. e_K ~ tau(e | z), a learned reverse model,

        log r = log 1/(K+1) sum_{j=0..K} q(z | e_j) N(e_j; 0, I) / tau(e_j | z),   E[log r | z] >= log q(z),

    so that `NegativeElbo` and `ImportanceWeighted` with `Reparameterisation` are lower bounds on the log evidence, the
    doubly importance-weighted ones of Sobolev and Vetrov; K = 0 is the auxiliary bound of Ranganath et al.

    `mean`, `scale_tril`: of the Gaussian in whose coordinates the networks work, not trained. `forward`: q(z | e),
    `reverse`: tau(e | z). `num_auxiliary`: K. A draw costs 1 + K passes of each network.

    Source: Ranganath, Tran and Blei (2016); Sobolev and Vetrov (2019), Importance weighted hierarchical variational
    inference; with tau = N(0, I): Yin and Zhou (2018).
    """

    mean: Float[Array, " d"]
    scale_tril: Float[Array, "d d"]
    forward: Conditional
    reverse: Conditional
    num_auxiliary: int = eqx.field(static=True)

    @property
    def dimension(self) -> int:
        return self.mean.shape[0]

    def partition(self) -> tuple["Hierarchical", "Hierarchical"]:
        """Whitening is not trained."""
        wanted = jax.tree.map(eqx.is_inexact_array, self)
        return eqx.partition(self, eqx.tree_at(lambda q: (q.mean, q.scale_tril), wanted, (False, False)))

    def noise(self, key: PRNGKey) -> Noise:
        """Of the auxiliary variable, of z given it, and of the K further ones."""
        keys = jax.random.split(key, 3)
        k, d = self.reverse.shift.shape[0], self.dimension
        shapes = ((k,), (d,), (self.num_auxiliary, k))
        e, x, more = (jax.random.normal(key, s, self.mean.dtype) for key, s in zip(keys, shapes, strict=True))
        return e, x, more

    def from_noise_and_log_prob(self, eps: Noise) -> tuple[Float[Array, " d"], Float[Array, ""]]:
        e, eps_x, eps_more = eps
        x = self.forward.draw(e, eps_x)
        more = jax.vmap(lambda eps: self.reverse.draw(x, eps))(eps_more)
        terms = jax.vmap(lambda e: self._term(x, e))(jnp.concatenate([e[None], more]))
        return self.mean + jnp.tril(self.scale_tril) @ x, self._mean_of(terms)

    def estimate_log_prob(self, key: PRNGKey, z: Float[Array, " d"]) -> Float[Array, ""]:
        x = solve_triangular(self.scale_tril, z - self.mean, lower=True)
        eps = jax.random.normal(key, (max(self.num_auxiliary, 1), self.reverse.shift.shape[0]), self.mean.dtype)
        return self._mean_of(jax.vmap(lambda eps: self._term(x, self.reverse.draw(x, eps)))(eps))

    def _term(self, x: Float[Array, " d"], e: Float[Array, " k"]) -> Float[Array, ""]:
        return self.forward.log_prob(x, e) + log_standard_normal(e) - self.reverse.log_prob(e, x)

    def _mean_of(self, terms: Float[Array, " n"]) -> Float[Array, ""]:
        log_det = jnp.sum(jnp.log(jnp.abs(jnp.diagonal(self.scale_tril))))
        return jax.nn.logsumexp(terms) - math.log(terms.shape[0]) - log_det

    def config(self) -> dict[str, Any]:
        k, weights = self.reverse.shift.shape[0], self.forward.network.weights
        sizes = {"width": weights[0].shape[1], "depth": len(weights) - 1}
        return {"dimension": self.dimension, "size": k, "num_auxiliary": self.num_auxiliary, **sizes}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Hierarchical":
        d = int(config["dimension"])
        sizes = {name: int(config[name]) for name in ("size", "num_auxiliary", "width", "depth")}
        return HierarchicalBuilder(**sizes).build(jax.random.key(0), Gaussian(jnp.zeros(d), jnp.eye(d)))


class HierarchicalBuilder(Builder):
    """`Hierarchical` with `size` auxiliary variables that begins at the given Gaussian exactly.

    There, z given e has half of the variance of the coordinates that an auxiliary variable moves, and the reverse model
    is exact. `num_auxiliary`: K of the bound. `width`, `depth`: of the networks.

    Raises `InputError` for size or width below 1 or num_auxiliary or depth below 0.
    """

    size: int = eqx.field(static=True, default=4)
    num_auxiliary: int = eqx.field(static=True, default=8)
    width: int = eqx.field(static=True, default=32)
    depth: int = eqx.field(static=True, default=2)

    def __check_init__(self):
        for name, least in (("size", 1), ("width", 1), ("num_auxiliary", 0), ("depth", 0)):
            if getattr(self, name) < least:
                raise InputError(f"{name} must be at least {least}, got {getattr(self, name)}")

    def build(self, key: PRNGKey, gaussian: Gaussian) -> Hierarchical:
        d, k, real = gaussian.dimension, self.size, gaussian.mean.dtype
        key_forward, key_reverse = jax.random.split(key)
        hidden = (self.width,) * self.depth
        linear = math.sqrt(0.5) * jnp.eye(d, k, dtype=real)
        log_scale = lambda n, m: jnp.where(jnp.arange(n) < m, 0.5 * math.log(0.5), 0.0).astype(real)  # noqa: E731
        forward = Conditional(
            linear, jnp.zeros(d, real), log_scale(d, k), init_network(key_forward, (k, *hidden, 2 * d), 1)
        )
        reverse = Conditional(
            linear.T, jnp.zeros(k, real), log_scale(k, d), init_network(key_reverse, (d, *hidden, 2 * k), 1)
        )
        return Hierarchical(gaussian.mean, gaussian.scale_tril, forward, reverse, self.num_auxiliary)
