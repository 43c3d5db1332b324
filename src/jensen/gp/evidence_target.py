"""Hyperparameters as unknowns: the evidence of a model as a target, for their mode or their posterior."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import PRNGKey, Scalar, Space, Target, as_scalar, real_space
from jensen.gp.hyperparameters import Hyperparameters


class EvidenceTarget(Target):
    """log p(y | theta) + log N(theta; theta_0, prior_scale^2), theta the hyperparameters' unconstrained coordinates.

    `log_evidence(tree, *args)`: the (approximate) log evidence of the trained tree and of data that are not trained.
    `tree`: kernels, likelihoods and what else holds trained numbers, with the values theta_0 about which the
    log-normal prior of the positive ones is centred and starts are drawn (real ones have a flat prior and start where
    they are). A `prior_scale` of 3 says a factor of e^3 = 20 either way; infinity says nothing, for type-II maximum
    likelihood by `Mode`. Any other algorithm and `jensen.fit` give the posterior of theta. `optimisation`: XLA's level
    (0 or 1) for so few evaluations that compiling them in haste pays; where None, the work of one decides.
    """

    space: Space
    hyperparameters: Hyperparameters
    log_evidence: Callable[..., Float[Array, ""]] = eqx.field(static=True)
    args: tuple[Any, ...]
    prior_scale: Scalar
    optimisation: int | None = eqx.field(static=True)

    def __init__(
        self,
        log_evidence: Callable[..., Any],
        tree: Any,
        *args: Any,
        prior_scale: Any = 3.0,
        optimisation: int | None = None,
    ):
        self.hyperparameters = Hyperparameters(tree)
        self.space = real_space(theta=(len(self.hyperparameters.names),))
        self.log_evidence, self.args, self.prior_scale = log_evidence, args, as_scalar(prior_scale)
        self.optimisation = optimisation

    def at_level(self, optimisation: int | None) -> "EvidenceTarget":
        """The same for programs compiled at another level."""
        tree, scale = self.hyperparameters.tree, self.prior_scale
        return EvidenceTarget(self.log_evidence, tree, *self.args, prior_scale=scale, optimisation=optimisation)

    def log_prior(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        """log N(theta; theta_0, prior_scale^2) but for its constant."""
        return log_normal_prior(self.hyperparameters, z, self.prior_scale)

    def log_density(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        return self.log_prior(z) + self.log_evidence(self.hyperparameters.at(z), *self.args)

    def start(self, key: PRNGKey) -> Float[Array, " d"]:
        """About theta_0, within a factor of about two."""
        theta = self.hyperparameters.theta
        away = 0.7 * jax.random.normal(key, theta.shape, theta.dtype)
        return theta + jnp.where(self.hyperparameters.logarithmic, away, 0.0)


def log_normal_prior(hyperparameters: Hyperparameters, theta: Float[Array, " p"], scale: Scalar) -> Float[Array, ""]:
    """log N(theta; theta_0, scale^2) of the positive hyperparameters, but for its constant."""
    away = jnp.where(hyperparameters.logarithmic, theta - hyperparameters.theta, 0.0)
    return -0.5 * jnp.sum((away / scale) ** 2)
