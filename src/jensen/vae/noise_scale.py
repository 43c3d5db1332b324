"""The noise scale of a Gaussian decoder by formula: running averages of the squared error, with `Refreshed`."""

from typing import Any

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.algorithms import ClosedUpdate
from jensen.core import InputError, PRNGKey, Scalar, scalar_field
from jensen.vae.likelihoods import Gaussian

NAME = "likelihood.log_scale"


class ScaleUpdate(ClosedUpdate):
    """What updates of the one noise scale of a Gaussian likelihood share."""

    rate: eqx.AbstractVar[Scalar]

    def __check_init__(self):
        if not isinstance(self.rate, jax.core.Tracer) and not 0 < self.rate <= 1:
            raise InputError(f"The rate of a running average must lie in (0, 1], got {self.rate}")

    def names(self, target: Any) -> tuple[str, ...]:
        likelihood = getattr(getattr(target, "model", None), "likelihood", None)
        if not isinstance(likelihood, Gaussian) or likelihood.log_scale.ndim or not likelihood.trained:
            raise InputError(
                "A noise scale is averaged for the Gaussian likelihood with one trained scale: "
                f"vae.likelihoods.gaussian(); this model has {type(likelihood).__name__}"
            )
        return (NAME,)


class RunningScale(ScaleUpdate):
    """sigma^2 <- (1 - r) sigma^2 + r mse, mse the mean over rows and columns of (x - E[x | z])^2, z one draw of q.

    r = `rate` in (0, 1]; 1 takes the scale of each minibatch by itself. With all else held, sigma^2 = mse is where the
    bound is highest. The draw matters: the reconstruction at the mean of q has a smaller error, and sigma^2 would come
    out too small.

    Raises `InputError` for a rate outside (0, 1], and for a likelihood without one trained scale.

    Source: Asperti and Trentin (2020), Balancing reconstruction error and Kullback-Leibler divergence in variational
    autoencoders: the moving average.
    """

    rate: Scalar = scalar_field(0.01)
    every: int = eqx.field(static=True, default=1)

    def update(self, key: PRNGKey, z: Float[Array, " d"], conditional: Any, target: Any) -> dict[str, Array]:
        return {NAME: 0.5 * jnp.log(_average(key, self.rate, z, conditional, target))}


class FallingScale(ScaleUpdate):
    """sigma^2 <- min(sigma^2, (1 - r) sigma^2 + r mse): `RunningScale` that never rises.

    It keeps the lowest of the noisy averages and so ends below the mean squared error. It stays where it began if the
    errors are larger at first: begin above the variance of the columns.

    Raises `InputError` for a rate outside (0, 1], and for a likelihood without one trained scale.

    Source: the code that Asperti and Trentin (2020) published.
    """

    rate: Scalar = scalar_field(0.01)
    every: int = eqx.field(static=True, default=1)

    def update(self, key: PRNGKey, z: Float[Array, " d"], conditional: Any, target: Any) -> dict[str, Array]:
        average = 0.5 * jnp.log(_average(key, self.rate, z, conditional, target))
        return {NAME: jnp.minimum(target.space.split(z)[NAME], average)}


def sampled_error(key: PRNGKey, model: Any, conditional: Any, X: Float[Array, "rows n"]) -> Float[Array, ""]:
    """The mean over rows and columns of (x - E[x | z])^2, z one draw of q(z | x): the best sigma^2 for these rows."""

    def row(key: PRNGKey, x: Float[Array, " n"]) -> Float[Array, ""]:
        return jnp.mean((x - model.reconstruct(conditional.given(x).sample(key))) ** 2)

    return jnp.mean(jax.vmap(row)(jax.random.split(key, len(X)), X))


def _average(key: PRNGKey, rate: Scalar, z: Float[Array, " d"], conditional: Any, target: Any) -> Float[Array, ""]:
    model = target.at(z)
    return (1 - rate) * jnp.exp(2 * model.likelihood.log_scale) + rate * sampled_error(
        key, model, conditional, target.data
    )
