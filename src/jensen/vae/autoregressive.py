"""Values of a row that lean on those before them, and priors in which latents do."""

import abc
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jensen.core import Density, InputError, PRNGKey
from jensen.families import Affine, Autoregressive, FlowBuilder, Gaussian
from jensen.families.bijective import Bijective, log_standard_normal
from jensen.vae.likelihoods import Likelihood
from jensen.vae.likelihoods._base import check_range, logit
from jensen.vae.networks import gelu

MARGIN = 0.01  # of probabilities, where training starts


class Causal(eqx.Module):
    """A trainable map of a row to as many numbers, the i-th a function of x_1 .. x_(i-1) alone."""

    @abc.abstractmethod
    def __call__(self, x: Float[Array, " n"]) -> Float[Array, " n"]:
        """Numbers that are added to the decoder's."""


class CausalLinear(Causal):
    """(W x)_i = sum over j in the window of i of W_ij x_j, a weight of its own at each place.

    `weight`: (n, n), read where `mask`, (n, n) and strictly lower triangular, is one.
    """

    weight: Float[Array, "n n"]
    mask: Float[Array, "n n"]

    def __call__(self, x: Float[Array, " n"]) -> Float[Array, " n"]:
        return (self.weight * jax.lax.stop_gradient(self.mask)) @ x


class CausalPerceptron(Causal):
    """Masked layers W_2 gelu(W_1 x + b), hidden units seeing x_1 .. x_m alone, m their rank.

    Source: Germain, Gregor, Murray and Larochelle (2015), MADE.
    """

    weights: tuple[Float[Array, "h n"], Float[Array, "n h"]]
    bias: Float[Array, " h"]

    def __call__(self, x: Float[Array, " n"]) -> Float[Array, " n"]:
        into, out = self.weights
        n, h = x.shape[0], self.bias.shape[0]
        rank = 1 + (np.arange(h) * (n - 1)) // h  # how many values a hidden unit sees
        sees = np.arange(n) < rank[:, None]
        seen = rank <= np.arange(n)[:, None]
        return (out * seen) @ gelu((into * sees) @ x + self.bias)


def window(shape: tuple[int, int], radius: int | None) -> np.ndarray:
    """Which pixels a pixel of an image sees, (n, n): those before it, at most `radius` rows and columns off.

    Before is meant in raster order. None: all before it. Raises `InputError` for an empty image or a negative radius.
    """
    if min(shape) < 1 or (radius is not None and radius < 0):
        raise InputError(f"A window wants an image of (rows, columns) and a radius of 0 or more, got {shape}, {radius}")
    rows, columns = np.divmod(np.arange(shape[0] * shape[1]), shape[1])
    apart = np.maximum(np.abs(rows[:, None] - rows), np.abs(columns[:, None] - columns))
    before = np.tri(len(rows), k=-1, dtype=bool)
    return before if radius is None else before & (apart <= radius)


def causal_linear(shape: tuple[int, int], radius: int | None) -> CausalLinear:
    """`CausalLinear` with weights of zero and the mask of `window`."""
    mask = jnp.asarray(window(shape, radius), jnp.result_type(float))
    return CausalLinear(jnp.zeros_like(mask), mask)


def causal_perceptron(key: PRNGKey, n: int, width: int) -> CausalPerceptron:
    """`CausalPerceptron` of `width` hidden units, zero to begin with. Raises `InputError` for sizes below 2 and 1."""
    if n < 2 or width < 1:
        raise InputError(f"A masked network wants rows of 2 or more values and hidden units, got {n} and {width}")
    real = jnp.result_type(float)
    into = jax.random.normal(key, (width, n), real) / math.sqrt(n)
    return CausalPerceptron((into, jnp.zeros((n, width), real)), jnp.zeros(width, real))


class AutoregressiveBernoulli(Likelihood):
    """p(x | raw) = prod_i Bernoulli(x_i; sigma(raw_i + c_i(x_1 .. x_(i-1)))), c a `Causal` map, in the row's own order.

    What c can tell from neighbours the latents need not: with a window of pixels they keep what is global; where c sees
    all before it, a strong c leaves them nothing. The order is the row's, here and in `sample`, which is sequential.
    `mean` puts means for the values before: E[x | raw] where c is zero, an approximation else.

    Source: Chen, Kingma, Salimans et al. (2017), Variational lossy autoencoder.
    """

    causal: Causal

    def partition(self) -> tuple["AutoregressiveBernoulli", "AutoregressiveBernoulli"]:
        """Masks are not trained."""
        wanted = jax.tree.map(eqx.is_inexact_array, self)
        if isinstance(self.causal, CausalLinear):
            wanted = eqx.tree_at(lambda q: q.causal.mask, wanted, False)
        return eqx.partition(self, wanted)

    def log_prob(self, x: Float[Array, " n"], raw: Float[Array, "n 1"]) -> Float[Array, ""]:
        logits = raw[:, 0] + self.causal(x)
        return jnp.sum(x * logits - jax.nn.softplus(logits))

    def mean(self, raw: Float[Array, "n 1"]) -> Float[Array, " n"]:
        return self._in_turn(raw[:, 0], jax.nn.sigmoid)

    def sample(self, key: PRNGKey, raw: Float[Array, "n 1"]) -> Float[Array, " n"]:
        noise = jax.random.logistic(key, raw[:, 0].shape, raw.dtype)
        return self._in_turn(raw[:, 0] + noise, lambda logits: (logits > 0).astype(raw.dtype))

    def _in_turn(self, logits: Float[Array, " n"], value: Any) -> Float[Array, " n"]:
        def fill(i: Array, x: Array) -> Array:
            return x.at[i].set(value((logits + self.causal(x))[i]))

        return jax.lax.fori_loop(0, logits.shape[0], fill, jnp.zeros_like(logits))

    def initial(self, X: np.ndarray) -> np.ndarray:
        return logit(np.mean(X, 0), MARGIN)[:, None]

    def check(self, X: np.ndarray) -> None:
        check_range(X, "autoregressive Bernoulli", lambda x: (x == 0) | (x == 1), "values 0 and 1", "threshold them")


class AutoregressivePrior(Density):
    """log p(z) = log N(g(z); 0, I) + log |det dg/dz|, g autoregressive: e_i = s_i(z_<i) z_i + m_i(z_<i), in layers.

    The density, which training asks for, is one parallel pass; a draw z = g^-1(e) takes as many passes as latents. `g`:
    a `Bijective` whose map is taken from z to noise, the other way round from its own density. Along an encoder the
    prior does what the same flow would do behind q: KL(q || p) = KL(g(q) || N(0, I)), while the decoder reads z.

    Source: Chen, Kingma, Salimans et al. (2017), Variational lossy autoencoder; Papamakarios et al. (2017).
    """

    g: Bijective

    @property
    def dimension(self) -> int:
        return self.g.dimension

    def partition(self) -> tuple["AutoregressivePrior", "AutoregressivePrior"]:
        """As `g` says of itself."""
        trainable, rest = self.g.partition()
        make: Any = AutoregressivePrior
        return make(trainable), make(rest)

    def sample(self, key: PRNGKey) -> Float[Array, " d"]:
        return self.g.inverse(self.g.noise(key))

    def log_prob(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        noise, log_det = self.g.transform(z)
        return log_standard_normal(noise) + log_det

    def config(self) -> dict[str, Any]:
        return {"class": type(self.g).__name__, "g": self.g.config()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "AutoregressivePrior":
        from jensen import families

        known = config["class"] in families.__all__ and getattr(families, config["class"])
        if not (isinstance(known, type) and issubclass(known, Bijective)):
            raise InputError(f"{config['class']!r} is not a bijective family of jensen.families")
        g: Any = known.from_config(config["g"])
        return cls(g)


def autoregressive_prior(key: PRNGKey, dimension: int, layers: int = 2, width: int = 32) -> AutoregressivePrior:
    """N(0, I) to begin with: affine masked layers in turned order. Raises `InputError` for sizes below one."""
    if min(dimension, layers, width) < 1:
        raise InputError(f"An autoregressive prior wants sizes of 1 or more, got {dimension}, {layers}, {width}")
    real = jnp.result_type(float)
    start = Gaussian(jnp.zeros(dimension, real), jnp.eye(dimension, dtype=real))
    return AutoregressivePrior(FlowBuilder(Autoregressive(Affine(), width, 1), layers).build(key, start))
