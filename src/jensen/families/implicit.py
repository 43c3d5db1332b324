"""A neural sampler with a little noise: the image of few Gaussian numbers under a network."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

from jensen.core import InputError, PRNGKey, Scalar, scalar_field
from jensen.families._builders import Builder
from jensen.families._conditioner import init_network
from jensen.families.augmented import Augmented
from jensen.families.bijective import log_standard_normal
from jensen.families.gaussian import Gaussian

_LOG_2PI = math.log(2 * math.pi)

Noise = tuple[Float[Array, " k"], Float[Array, " d"], Float[Array, "m k"]]


class Implicit(Augmented):
    """q(z) = int N(z; g(e), sigma^2) N(e; 0, I_k) de, g a smooth network from R^k to R^d, in a Gaussian's coordinates.

    z = m + L x, x = b + A e + f(e) + sigma eta; where f is `MatrixNetworks` without A, which would be as large as a
    dense layer. `linearised` gives the entropy by a first-order expansion of g, which `objectives.LinearisedElbo`
    trains with; it is exact for an affine g, and no bound otherwise (a g that folds has less entropy). What bounds and
    certificates use instead is, with e_0 the one that made z and e_1 .. e_K ~ N(0, I),

        log r = log 1/(K+1) sum_{j=0..K} N(z; g(e_j), sigma^2),   E[log r | z] >= log q(z):

    honest, and loose unless sigma is as large as the distance between K draws: a small sigma is not certified.

    `mean`, `scale_tril`: m and L, not trained. `linear`, `shift`: A, shape (d, k), or None, and b. `sigma`: in
    units of L, not trained. `num_auxiliary`: K.

    Source: Uppal, Stensbo-Smidt, Boomsma and Frellsen (2023), Implicit variational inference for high-dimensional
    posteriors; the bound: Yin and Zhou (2018), Molchanov et al. (2019).
    """

    mean: Float[Array, " d"]
    scale_tril: Float[Array, "d d"]
    linear: Float[Array, "d k"] | None
    shift: Float[Array, " d"]
    network: Any  # a Network, or MatrixNetworks
    sigma: Float[Array, ""]
    num_auxiliary: int = eqx.field(static=True)

    @property
    def dimension(self) -> int:
        return self.mean.shape[0]

    @property
    def size(self) -> int:
        """k, the number of latent variables."""
        return self.network.size if self.linear is None else self.linear.shape[1]

    def partition(self) -> tuple["Implicit", "Implicit"]:
        """Whitening and sigma are not trained."""
        wanted = jax.tree.map(eqx.is_inexact_array, self)
        still = lambda q: (q.mean, q.scale_tril, q.sigma)  # noqa: E731
        return eqx.partition(self, eqx.tree_at(still, wanted, (False, False, False)))

    def generate(self, e: Float[Array, " k"]) -> Float[Array, " d"]:
        """g(e), in whitened coordinates."""
        if self.linear is None:
            return self.shift + self.network(e)
        return self.shift + self.linear @ e + jax.tree.map(lambda a: a[0], self.network)(e, None)

    def noise(self, key: PRNGKey) -> Noise:
        """Of the latent variable, the additive noise, and K further latent variables."""
        keys = jax.random.split(key, 3)
        d, k = self.dimension, self.size
        shapes = ((k,), (d,), (self.num_auxiliary, k))
        e, eta, more = (jax.random.normal(key, s, self.mean.dtype) for key, s in zip(keys, shapes, strict=True))
        return e, eta, more

    def from_noise(self, eps: Noise) -> Float[Array, " d"]:
        return self._place(self.generate(eps[0]) + self.sigma * eps[1])

    def from_noise_and_log_prob(self, eps: Noise) -> tuple[Float[Array, " d"], Float[Array, ""]]:
        e, eta, more = eps
        x = self.generate(e) + self.sigma * eta
        return self._place(x), self._mean_of(x, jnp.concatenate([e[None], more]))

    def estimate_log_prob(self, key: PRNGKey, z: Float[Array, " d"]) -> Float[Array, ""]:
        x = solve_triangular(self.scale_tril, z - self.mean, lower=True)
        latents = jax.random.normal(key, (max(self.num_auxiliary, 1), self.size), self.mean.dtype)
        return self._mean_of(x, latents)

    def linearised(self, eps: Noise) -> tuple[Float[Array, " d"], Float[Array, ""]]:
        """z(eps) and minus its term of the linearised entropy, in nats.

        The term is d/2 (1 + log 2 pi) + 1/2 log det(J J^T + sigma^2 I) + log det L, J = dg/de at e.
        """
        half_log_det = linearised_log_det(self.generate, eps[0], self.sigma)
        d = self.dimension
        return self.from_noise(eps), -0.5 * d * (1 + _LOG_2PI) - half_log_det - self._log_det()

    def _place(self, x: Float[Array, " d"]) -> Float[Array, " d"]:
        return self.mean + jnp.tril(self.scale_tril) @ x

    def _log_det(self) -> Float[Array, ""]:
        return jnp.sum(jnp.log(jnp.abs(jnp.diagonal(self.scale_tril))))

    def _mean_of(self, x: Float[Array, " d"], latents: Float[Array, "n k"]) -> Float[Array, ""]:
        terms = jax.vmap(lambda e: log_standard_normal((x - self.generate(e)) / self.sigma))(latents)
        scale = self.dimension * jnp.log(self.sigma) + self._log_det()
        return jax.nn.logsumexp(terms) - math.log(terms.shape[0]) - scale

    def config(self) -> dict[str, Any]:
        if self.linear is None:
            return {"dimension": self.dimension, "num_auxiliary": self.num_auxiliary, **self.network.config()}
        weights = self.network.weights
        sizes = {"size": self.linear.shape[1], "width": weights[0].shape[1], "depth": len(weights) - 1}
        return {"dimension": self.dimension, "num_auxiliary": self.num_auxiliary, **sizes}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Implicit":
        d = int(config["dimension"])
        if "shapes" in config:
            from jensen.families.matrix_networks import rebuilt

            return rebuilt(config)
        sizes = {name: int(config[name]) for name in ("size", "num_auxiliary", "width", "depth")}
        return ImplicitBuilder(**sizes).build(jax.random.key(0), Gaussian(jnp.zeros(d), jnp.eye(d)))


def linearised_log_det(
    generate: Callable[[Float[Array, " k"]], Float[Array, " d"]], e: Float[Array, " k"], sigma: Any
) -> Float[Array, ""]:
    """1/2 log det(J J^T + sigma^2 I_d), J = dg/de at e: what a linearised g adds to the entropy of d normal numbers.

    By the smaller of two determinants: log det = (d - k) log sigma^2 + log det(J^T J + sigma^2 I_k) for k <= d. Cost: k
    forward derivatives of g.
    """
    jacobian = jax.jacfwd(generate)(e)
    d, k = jacobian.shape
    small = jacobian.T @ jacobian if k <= d else jacobian @ jacobian.T
    small = small + sigma**2 * jnp.eye(min(d, k), dtype=small.dtype)
    rest = 0.0 if k >= d else (d - k) * jnp.log(sigma)
    return 0.5 * jnp.linalg.slogdet(small)[1] + rest


def check_settings(builder: Any, sizes: tuple[str, ...]) -> None:
    """Raises `InputError` for sizes below 1, num_auxiliary or depth below 0, or sigma not positive."""
    for name, least in (*((name, 1) for name in sizes), ("num_auxiliary", 0), ("depth", 0)):
        if getattr(builder, name) < least:
            raise InputError(f"{name} must be at least {least}, got {getattr(builder, name)}")
    if not builder.sigma > 0:
        raise InputError(f"sigma must be positive, got {builder.sigma}")


class ImplicitBuilder(Builder):
    """`Implicit` with `size` latent variables whose network begins as the affine map to the given Gaussian.

    With size = d it begins there, widened by sigma; with fewer, at its first `size` coordinates in the order of L.
    `sigma`: sd of the noise, in units of the Gaussian's. `num_auxiliary`: K of the bound.

    Raises `InputError` for size or width below 1, num_auxiliary or depth below 0, or sigma not positive.
    """

    size: int = eqx.field(static=True, default=8)
    sigma: Scalar = scalar_field(1e-2)
    num_auxiliary: int = eqx.field(static=True, default=64)
    width: int = eqx.field(static=True, default=64)
    depth: int = eqx.field(static=True, default=2)

    def __check_init__(self):
        check_settings(self, ("size", "width"))

    def build(self, key: PRNGKey, gaussian: Gaussian) -> Implicit:
        d, k, real = gaussian.dimension, self.size, gaussian.mean.dtype
        network = init_network(key, (k, *(self.width,) * self.depth, d), 1)
        linear, sigma = jnp.eye(d, k, dtype=real), self.sigma.astype(real)
        return Implicit(
            gaussian.mean, gaussian.scale_tril, linear, jnp.zeros(d, real), network, sigma, self.num_auxiliary
        )
