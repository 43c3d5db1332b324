"""A target in the coordinates of a fitted family."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import (
    DensityPosterior,
    DrawsPosterior,
    InputError,
    PointPosterior,
    Posterior,
    PRNGKey,
    Program,
    Space,
    Target,
    WeightedPosterior,
)
from jensen.families.bijective import Bijective
from jensen.families.pushforward import Pushforward


class Pullback(Program):
    """Constrains u by way of z = T(u) and the inner space."""

    inner: Space
    bijection: Bijective

    def constrain(self, values: dict[str, Array]) -> dict[str, Array]:
        return self.inner.constrain(self.bijection.transform(self.inner.join(values))[0])

    def unconstrain(self, x: dict[str, Array]) -> dict[str, Array]:
        return self.inner.split(self.bijection.inverse(self.inner.unconstrain(x)))


class Transformed(Target):
    """`target` seen through z = T(u): log p_u(u) = log p(T(u)) + log |det dT/du|.

    `bijection` is a family of standard normal noise (`Gaussian`, `DiagonalGaussian`, `Flow`); where it fits p well,
    p_u is near N(0, I), so that samplers need no further adaptation. The evidence is that of `target`.

    Its space is the inner one with T in front: draws in u come out named and in their supports. The coordinates of
    posteriors found on it are u, not z: certify them against this target, or take them back by `pull`.

    Raises `InputError` if the family is no bijection of noise or has another dimension.

    Source: Parno and Marzouk (2018); NeuTra: Hoffman et al. (2019).
    """

    target: Target
    bijection: Any  # a Bijective; what is none is met by an error of ours

    def __check_init__(self):
        if not isinstance(self.bijection, Bijective):
            raise InputError(
                f"{type(self.bijection).__name__} is no bijection of standard normal noise: transform by a Gaussian, "
                "DiagonalGaussian or Flow"
            )
        d = self.target.space.dimension
        if self.bijection.dimension != d:
            raise InputError(f"The family has dimension {self.bijection.dimension}, the target {d}")

    @property
    def space(self) -> Space:
        return Space(self.target.space.variables, Pullback(self.target.space, self.bijection))

    def log_density(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        inner, log_det = self.bijection.transform(z)
        return self.target.log_density(inner) + log_det

    def start(self, key: PRNGKey) -> Float[Array, " d"]:
        """u ~ N(0, I), a draw of the family."""
        return jax.random.normal(key, (self.space.dimension,), jnp.result_type(float))

    def predict(self, key: PRNGKey, z: Float[Array, " d"]) -> dict[str, Array]:
        return self.target.predict(key, self.bijection.transform(z)[0])

    def observed(self) -> dict[str, Array]:
        return self.target.observed()

    def diagnose(self, z: Float[Array, " d"]) -> str:
        return self.target.diagnose(self.bijection.transform(z)[0])

    def pull(self, posterior: Posterior) -> Posterior:
        """A posterior over u as one over z, on the inner target's space. Raises `InputError` for an unknown kind."""
        space = self.target.space
        if isinstance(posterior, DrawsPosterior):
            z = _forward_many(self.bijection, posterior.pooled).reshape(posterior.chains.shape)
            return DrawsPosterior(space, z, posterior.diverging, posterior.independent)
        if isinstance(posterior, DensityPosterior):
            return DensityPosterior(space, Pushforward(posterior.q, self.bijection))
        if isinstance(posterior, WeightedPosterior):
            proposal = None if posterior.proposal is None else Pushforward(posterior.proposal, self.bijection)
            return WeightedPosterior(space, _forward_many(self.bijection, posterior.z), posterior.log_weights, proposal)
        if isinstance(posterior, PointPosterior):
            others = None if posterior.others is None else _forward_many(self.bijection, posterior.others)
            return PointPosterior(space, _forward_many(self.bijection, posterior.z[None])[0], others)
        raise InputError(f"A {type(posterior).__name__} cannot be taken back through a transformation")


@eqx.filter_jit
def _forward_many(bijection: Bijective, u: Float[Array, "n d"]) -> Float[Array, "n d"]:
    return jax.vmap(lambda row: bijection.transform(row)[0])(u)
