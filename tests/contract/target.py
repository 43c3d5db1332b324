"""The target that the contract tests share: a correlated Gaussian whose unknowns are named and partly constrained."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import PRNGKey, Scalar, Space, Target, Variable, positive, scalar_field
from jensen.families import Gaussian

MEAN = (0.5, -1.0, 0.3, 0.1)
SCALE_TRIL = ((1.2, 0.0, 0.0, 0.0), (0.5, 0.8, 0.0, 0.0), (-0.3, 0.2, 0.6, 0.0), (0.1, -0.4, 0.2, 0.9))


class CorrelatedGaussian(Target):
    """log p(z) = log N(z; m, L L^T) in the unconstrained coordinates of mu (2 reals) and sigma (2 positive numbers).

    The log density is NaN where |z - centre| < hole.
    """

    space: Space
    mean: Float[Array, " d"]
    scale_tril: Float[Array, "d d"]
    centre: Float[Array, " d"]
    hole: Scalar = scalar_field(0.0)

    def log_density(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        broken = jnp.sum((z - self.centre) ** 2) < self.hole**2
        return jnp.where(broken, jnp.nan, Gaussian(self.mean, self.scale_tril).log_prob(z))


def correlated_gaussian(scale: float = 1.0, hole: float = 0.0) -> CorrelatedGaussian:
    """N(scale * m, scale^2 S), d = 4, with a hole of NaN about its mean."""
    real = jnp.result_type(float)
    space = Space((Variable("mu", (2,)), Variable("sigma", (2,), positive())))
    mean = scale * jnp.asarray(MEAN, real)
    return CorrelatedGaussian(space, mean, scale * jnp.asarray(SCALE_TRIL, real), mean, hole)


def broken_everywhere(make: Any = correlated_gaussian) -> Any:
    """A target of `make` whose log density is NaN: no start is finite."""
    return jax.tree.map(lambda leaf: jnp.nan * leaf if eqx.is_inexact_array(leaf) else leaf, make())


class NoisyGaussian(eqx.Module):
    """A target of which only jittered versions can be seen, as a minibatched one."""

    exact: Target

    def realise(self, key: PRNGKey) -> Any:
        shift = 1e-3 * jax.random.normal(key, self.exact.mean.shape, self.exact.mean.dtype)
        return eqx.tree_at(lambda t: t.mean, self.exact, self.exact.mean + shift)


def noisy(target: Target) -> NoisyGaussian:
    """`target` seen through estimates: its mean is jittered by 0.001 at every step."""
    return NoisyGaussian(target)
