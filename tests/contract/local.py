"""The contract's target with latents of rows: a linear Gaussian model whose marginal likelihood is the truth."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jensen.algorithms import AmortisedVI, ClosedUpdate, Refreshed
from jensen.core import PRNGKey, Scalar, Space, Target, Variable, positive, real_space, scalar_field
from jensen.families import Gaussian
from tests.contract.target import MEAN, SCALE_TRIL

SHARE = 0.3  # a = L (1, 1, 1, 1)^T times this: short enough that S - a a^T is positive definite


class RowLatents(Target):
    """log p(u, x | z) of x | u ~ N(z + a u, S - a a^T), u ~ N(0, 1): its evidence is log N(x; z, S)."""

    z: Float[Array, " d"]
    x: Float[Array, " d"]
    loading: Float[Array, " d"]
    noise_tril: Float[Array, "d d"]
    broken: Array
    space: Space = eqx.field(default_factory=lambda: real_space(u=(1,)), static=True)

    def log_density(self, z: Float[Array, " 1"]) -> Float[Array, ""]:
        value = Gaussian(self.z + self.loading * z[0], self.noise_tril).log_prob(self.x) - 0.5 * z[0] ** 2
        return jnp.where(self.broken, jnp.nan, value - 0.5 * jnp.log(2 * jnp.pi))


class LocalGaussian(Target):
    """Rows x_i ~ N(z, S) by way of a latent each; the likelihood of z, with every row at m, is highest at z = m.

    NaN where |z - m| < hole.
    """

    space: Space
    mean: Float[Array, " d"]
    scale_tril: Float[Array, "d d"]
    centre: Float[Array, " d"]
    loading: Float[Array, " d"]
    data: Float[Array, "n d"]
    num_rows: int = eqx.field(static=True)
    hole: Scalar = scalar_field(0.0)

    def log_prior(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        return jnp.zeros((), z.dtype)

    def local(self, z: Float[Array, " d"], row: Float[Array, " d"]) -> RowLatents:
        noise = jnp.linalg.cholesky(self.scale_tril @ self.scale_tril.T - jnp.outer(self.loading, self.loading))
        return RowLatents(z, row, self.loading, noise, jnp.sum((z - self.centre) ** 2) < self.hole**2)

    def log_density(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        broken = jnp.sum((z - self.centre) ** 2) < self.hole**2
        value = jnp.sum(jax.vmap(Gaussian(z, self.scale_tril).log_prob)(self.data))
        return jnp.where(broken, jnp.nan, value)

    def minibatch(self, rows: Int[Array, " b"]) -> "LocalGaussian":
        return eqx.tree_at(lambda t: t.data, self, self.data[rows])


class Linear(eqx.Module):
    """q(u | x) = N(w^T x + b, exp(s)^2), the form of the exact posterior."""

    weight: Float[Array, " d"]
    bias: Float[Array, ""]
    log_scale: Float[Array, ""]

    def given(self, data: Float[Array, " d"]) -> Any:
        return Gaussian((self.weight @ data + self.bias)[None], jnp.exp(self.log_scale)[None, None])


def local_gaussian(scale: float = 1.0, hole: float = 0.0) -> LocalGaussian:
    """Two rows at scale * m, so that the mode is there; scale_tril does not change with `scale`."""
    real = jnp.result_type(float)
    space = Space((Variable("mu", (2,)), Variable("sigma", (2,), positive())))
    mean = scale * jnp.asarray(MEAN, real)
    tril = jnp.asarray(SCALE_TRIL, real)
    return LocalGaussian(space, mean, tril, mean, SHARE * jnp.sum(tril, 1), jnp.stack([mean, mean]), 2, hole)


def amortised_vi() -> AmortisedVI:
    """The algorithm for it, from a poor conditional."""
    real = jnp.result_type(float)
    return AmortisedVI(Linear(jnp.zeros(4, real), jnp.zeros((), real), jnp.zeros((), real)), learning_rate=0.05)


class MeanOfRows(ClosedUpdate):
    """sigma <- (1 - r) sigma + r (mean of the rows), r = `rate`: half of the mode by its own formula."""

    rate: Scalar = scalar_field(0.05)
    every: int = eqx.field(static=True, default=2)

    def names(self, target: Any) -> tuple[str, ...]:
        return ("sigma",)

    def update(self, key: PRNGKey, z: Float[Array, " d"], conditional: Any, target: Any) -> dict[str, Array]:
        mean = target.space.split(jnp.mean(target.data, 0))["sigma"]
        return {"sigma": (1 - self.rate) * target.space.split(z)["sigma"] + self.rate * mean}


def refreshed() -> Refreshed:
    """The same algorithm, half of its unknowns by a formula."""
    return Refreshed(amortised_vi(), MeanOfRows())
