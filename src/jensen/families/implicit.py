"""A neural sampler with a little noise: the image of few Gaussian numbers under a network."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

from jensen._numerics.lanczos import smallest_eigenvector
from jensen.core import PRNGKey
from jensen.families.augmented import Augmented
from jensen.families.bijective import log_standard_normal
from jensen.families.generator import DenseGenerator, Generator
from jensen.families.matrix_networks import MatrixNetworks

_LOG_2PI = math.log(2 * math.pi)
_KINDS: dict[str, type[Generator]] = {"dense": DenseGenerator, "matrix products": MatrixNetworks}

Noise = tuple[Float[Array, " k"], Float[Array, " d"], Float[Array, "m k"]]
Map = Callable[[Float[Array, " k"]], Float[Array, " d"]]


class Implicit(Augmented):
    """q(z) = int N(z; g(e), sigma^2) N(e; 0, I_k) de, g a smooth network from R^k to R^d, in a Gaussian's coordinates.

    z = m + L x, x = g(e) + sigma eta. `linearised` gives the entropy by a first-order expansion of g, which
    `objectives.LinearisedElbo` trains with; it is exact for an affine g, and no bound otherwise (a g that folds has
    less entropy). What bounds and certificates use instead is, with e_0 the one that made z and e_1 .. e_K ~ N(0, I),

        log r = log 1/(K+1) sum_{j=0..K} N(z; g(e_j), sigma^2),   E[log r | z] >= log q(z):

    honest, and loose unless sigma is as large as the distance between K draws: a small sigma is not certified.

    `mean`, `scale_tril`: m and L, not trained. `generator`: g, a `DenseGenerator`, `MatrixNetworks`, or a `Generator`
    of your own. `sigma`: in units of L, not trained. `num_auxiliary`: K.

    Source: Uppal, Stensbo-Smidt, Boomsma and Frellsen (2023), Implicit variational inference for high-dimensional
    posteriors; the bound: Yin and Zhou (2018), Molchanov et al. (2019).
    """

    mean: Float[Array, " d"]
    scale_tril: Float[Array, "d d"]
    generator: Generator
    sigma: Float[Array, ""]
    num_auxiliary: int = eqx.field(static=True)

    @property
    def dimension(self) -> int:
        return self.mean.shape[0]

    @property
    def size(self) -> int:
        """k, the number of latent variables."""
        return self.generator.size

    def partition(self) -> tuple["Implicit", "Implicit"]:
        """Whitening and sigma are not trained."""
        wanted = jax.tree.map(eqx.is_inexact_array, self)
        still = lambda q: (q.mean, q.scale_tril, q.sigma)  # noqa: E731
        return eqx.partition(self, eqx.tree_at(still, wanted, (False, False, False)))

    def generate(self, e: Float[Array, " k"]) -> Float[Array, " d"]:
        """g(e), in whitened coordinates."""
        return self.generator(e)

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

    def linearised(
        self, eps: Noise, half_log_det: Callable[[Map, Any, Any], Any] | None = None
    ) -> tuple[Float[Array, " d"], Float[Array, ""]]:
        """z(eps) and minus its term of the linearised entropy, in nats.

        The term is d/2 (1 + log 2 pi) + 1/2 log det(J J^T + sigma^2 I) + log det L, J = dg/de at e. `half_log_det`: of
        (g, e, sigma), what stands for the second summand; `linearised_log_det` where None.
        """
        half = (half_log_det or linearised_log_det)(self.generator, eps[0], self.sigma)
        return self.from_noise(eps), -0.5 * self.dimension * (1 + _LOG_2PI) - half - self._log_det()

    def _place(self, x: Float[Array, " d"]) -> Float[Array, " d"]:
        return self.mean + jnp.tril(self.scale_tril) @ x

    def _log_det(self) -> Float[Array, ""]:
        return jnp.sum(jnp.log(jnp.abs(jnp.diagonal(self.scale_tril))))

    def _mean_of(self, x: Float[Array, " d"], latents: Float[Array, "n k"]) -> Float[Array, ""]:
        terms = jax.vmap(lambda e: log_standard_normal((x - self.generate(e)) / self.sigma))(latents)
        scale = self.dimension * jnp.log(self.sigma) + self._log_det()
        return jax.nn.logsumexp(terms) - math.log(terms.shape[0]) - scale

    def config(self) -> dict[str, Any]:
        kind = next((name for name, cls in _KINDS.items() if type(self.generator) is cls), "unknown")
        sizes = {"dimension": self.dimension, "num_auxiliary": self.num_auxiliary, "generator": kind}
        return {**sizes, **self.generator.config()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Implicit":
        d = int(config["dimension"])
        # fits that were saved before generators had names are told apart by their sizes
        kind = _KINDS[config.get("generator", "matrix products" if "shapes" in config else "dense")]
        generator = kind.from_config(config, d)
        return cls(jnp.zeros(d), jnp.eye(d), generator, jnp.ones(()), int(config["num_auxiliary"]))


def linearised_log_det(generate: Map, e: Float[Array, " k"], sigma: Any) -> Float[Array, ""]:
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


def smallest_singular_log_det(
    generate: Map, e: Float[Array, " k"], sigma: Any, starts: Float[Array, "m n"]
) -> Float[Array, ""]:
    """A lower bound of `linearised_log_det`: n/2 log(s^2 + sigma^2) + (d - n) log sigma, n = min(d, k).

    s is the smallest of the n singular values of J = dg/de at e, by m steps of Lanczos' recursion on v -> J^T J v
    (J J^T for k > d), a forward and a reverse derivative of g each. The gradient is that of |J v| with v held fixed,
    which is the exact one. For m = n, and once the recursion has converged, the value is never above the determinant;
    before that s is too large, by what the recursion has missed, and the value can be.

    `starts`: m random vectors of length n, m <= n. Cost: m + 1 forward and m reverse derivatives, however large n.

    Source: Uppal, Stensbo-Smidt, Boomsma and Frellsen (2023); the recursion: `_numerics.lanczos`.
    """
    d, k = jax.eval_shape(generate, e).shape[0], e.shape[0]
    moving, held = jax.closure_convert(lambda e: generate(e), e)  # it hashes what it is given: a module cannot be
    still: Any = lambda e: moving(e, *map(jax.lax.stop_gradient, held))  # noqa: E731
    e = jax.lax.stop_gradient(e)
    _, push = jax.linearize(still, e)
    pull = jax.linear_transpose(push, e)
    if k <= d:
        v = smallest_eigenvector(lambda v: pull(push(v))[0], starts)
        _, image = jax.jvp(generate, (e,), (v,))
    else:
        v = smallest_eigenvector(lambda u: push(pull(u)[0]), starts)
        (image,) = jax.vjp(generate, e)[1](v)
    n = min(d, k)
    rest = (d - n) * jnp.log(sigma) if n < d else 0.0
    return 0.5 * n * jnp.log(image @ image + sigma**2) + rest
