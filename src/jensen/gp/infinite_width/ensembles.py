"""Laws of random weight matrices, drawn through what they do to a few vectors: the matrix itself is never formed."""

import abc
import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import InputError, PRNGKey, Scalar, require, scalar_field


class WeightEnsemble(eqx.Module):
    """A law of W, shape (n_out, n_in), with entries of mean 0, variance 1 / n_in and no correlation.

    The network limit is the same Gaussian process for every *pseudo-iid* law: exchangeable rows and columns, eighth
    moments of order n_in^-4, and mixed fourth moments over two columns that factorise as n_in grows.

    Source: Nait Saada, Naderi and Tanner (2024), Beyond IID weights.
    """

    @abc.abstractmethod
    def apply(self, key: PRNGKey, z: Float[Array, "n_in p"], n_out: int) -> Float[Array, "n_out p"]:
        """A draw of W z, exact in law, O((n_in + n_out) p^2); with z = I it is W itself."""


class IID(WeightEnsemble):
    """W_ij ~ N(0, 1 / n_in), independent: given z = Q R, W z = G R with G of n_out x p standard normal numbers."""

    def apply(self, key: PRNGKey, z: Float[Array, "n_in p"], n_out: int) -> Float[Array, "n_out p"]:
        return _normal_image(key, z, n_out) / math.sqrt(z.shape[0])


class Orthogonal(WeightEnsemble):
    """W = sqrt(m / n_in) times n_out rows and n_in columns of a Haar orthogonal m x m matrix, m = max(n_in, n_out)."""

    def apply(self, key: PRNGKey, z: Float[Array, "n_in p"], n_out: int) -> Float[Array, "n_out p"]:
        n_in, p = z.shape
        m = max(n_in, n_out)
        normal = jax.random.normal(key, (m, p), z.dtype)
        # one batched factorisation: two side by side can wait for each other in XLA's pool of threads
        q, r = jnp.linalg.qr(jnp.stack([jnp.zeros((m, p), z.dtype).at[:n_in].set(z), normal]))
        signs = jnp.where(jnp.diagonal(r[1]) < 0, -1.0, 1.0).astype(z.dtype)
        frame = q[1] * signs  # uniform on the frames of R^m: the image of that of z
        return math.sqrt(m / n_in) * (frame @ r[0])[:n_out]


class LowRank(WeightEnsemble):
    """W = U V^T / sqrt(r n_in), U and V standard normal, of rank r = `share` n_in: pseudo-iid, for r grows with n_in.

    Raises `InputError` for a share outside (0, 1].
    """

    share: float = eqx.field(static=True, default=0.5)

    def __check_init__(self):
        require(0 < self.share <= 1, f"The share of the full rank must be in (0, 1], got {self.share:g}", InputError)

    def apply(self, key: PRNGKey, z: Float[Array, "n_in p"], n_out: int) -> Float[Array, "n_out p"]:
        return FixedRank(max(1, round(self.share * z.shape[0]))).apply(key, z, n_out)


class FixedRank(WeightEnsemble):
    """W = U V^T / sqrt(r n_in), U and V standard normal, of rank r whatever the width: *not* pseudo-iid.

    Outputs stay dependent and heavy-tailed: E[h^4] / (3 E[h^2]^2) -> 1 + 2 / r. Raises `InputError` for a rank below 1.
    """

    rank: int = eqx.field(static=True)

    def __check_init__(self):
        require(self.rank >= 1, f"The rank must be 1 or more, got {self.rank}", InputError)

    def apply(self, key: PRNGKey, z: Float[Array, "n_in p"], n_out: int) -> Float[Array, "n_out p"]:
        first, second = jax.random.split(key)
        inner = _normal_image(first, z, self.rank)
        return _normal_image(second, inner, n_out) / math.sqrt(self.rank * z.shape[0])


class BlockSparse(WeightEnsemble):
    """W = P D P', D of `blocks` dense blocks of independent normal entries, P and P' random permutations.

    Kept entries have variance `blocks` / n_in among all, so that rows keep unit length on average. Pseudo-iid while
    the blocks grow with the width. Raises `InputError` where `blocks` does not divide n_in.
    """

    blocks: int = eqx.field(static=True, default=8)

    def apply(self, key: PRNGKey, z: Float[Array, "n_in p"], n_out: int) -> Float[Array, "n_out p"]:
        n_in, p = z.shape
        divides = self.blocks >= 1 and n_in % self.blocks == 0
        require(divides, f"{self.blocks} blocks do not divide a layer of {n_in} inputs: take a divisor", InputError)
        columns, rows, entries = jax.random.split(key, 3)
        parts = jax.random.permutation(columns, z).reshape(self.blocks, n_in // self.blocks, p)
        r = jnp.linalg.qr(parts, mode="r")
        normal = jax.random.normal(entries, (n_out, r.shape[1]), z.dtype)
        block = jax.random.permutation(rows, jnp.arange(n_out) % self.blocks)
        return jnp.einsum("ok,okp->op", normal, r[block]) / math.sqrt(n_in // self.blocks)


class ScaledByPrior(WeightEnsemble):
    """W = sqrt(s) W', W' of the ensemble `inner` and s ~ InverseGamma(`shape`, `rate`), one s for the whole matrix.

    As the last layer of a network it makes the limit a Student-t process of 2 `shape` degrees of freedom: see
    `StudentTProcess`. Not pseudo-iid: entries share s. Their variance is rate / (shape - 1) / n_in.

    Source: Lee et al. (2022), Scale mixtures of neural network Gaussian processes.
    """

    inner: WeightEnsemble = IID()
    shape: Scalar = scalar_field(2.0)
    rate: Scalar = scalar_field(2.0)

    def apply(self, key: PRNGKey, z: Float[Array, "n_in p"], n_out: int) -> Float[Array, "n_out p"]:
        of_scale, of_weights = jax.random.split(key)
        scale = self.rate / jax.random.gamma(of_scale, self.shape, dtype=z.dtype)
        return jnp.sqrt(scale) * self.inner.apply(of_weights, z, n_out)


def _normal_image(key: PRNGKey, z: Float[Array, "n p"], n_out: int) -> Float[Array, "n_out p"]:
    """G z for G of n_out x n independent standard normal entries."""
    r = jnp.linalg.norm(z, axis=0, keepdims=True) if z.shape[1] == 1 else jnp.linalg.qr(z, mode="r")
    return jax.random.normal(key, (n_out, r.shape[0]), z.dtype) @ r
