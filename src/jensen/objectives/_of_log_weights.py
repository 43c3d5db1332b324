"""The base of the objectives that are a function of importance weights."""

import abc
import math
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.core
from jaxtyping import Array, Float

from jensen.core import Estimate, InputError, LogDensity, Objective, PRNGKey, check_count
from jensen.gradient_estimators import OfWeights, StickingTheLanding
from jensen.gradient_estimators._replicated import replicate


class OfLogWeights(Objective):
    """E_{z_1..z_K ~ q}[phi(log w_1, ..., log w_K)], w = p(z, data) / q(z); a class gives phi and its bound.

    The fields `num_weights`, K, and `estimator` are declared by each class, so that their order is its own.
    """

    needs: ClassVar[Any] = LogDensity

    @abc.abstractmethod
    def phi(self, log_w: Float[Array, " k"]) -> Float[Array, ""]:
        """What is averaged, of K log weights; twice differentiable."""

    def log_density(self, target: Any) -> Callable[[Float[Array, " d"]], Float[Array, ""]]:
        """log p in the weights: the target's, unless a class says otherwise."""
        return target.log_density

    def loss(self: Any, key: PRNGKey, q: Any, target: Any) -> Estimate:
        f = OfWeights(self.log_density(target), self.phi, self.num_weights)
        return self.estimator.expectation(key, replicate(q, self.num_weights), f)


def check_weights(objective: Any, least: int = 1) -> None:
    """Refuse too few weights, and the estimator that is biased for all but the ELBO. Raises `InputError`."""
    name = type(objective).__name__
    check_count(f"num_weights of {name}", objective.num_weights, least)
    if isinstance(objective.estimator, StickingTheLanding):
        raise InputError(f"StickingTheLanding is biased for {name}: use DoublyReparameterised or Reparameterisation")


def check_setting(name: str, value: Any, holds: Any, wanted: str) -> None:
    """Refuse a concrete setting for which `holds(value)` is false; a traced one passes. Raises `InputError`."""
    if not isinstance(value, jax.core.Tracer) and not holds(float(value)):
        raise InputError(f"{name} must be {wanted}, got {float(value):g}")


def log_mean_exp(values: Float[Array, " k"]) -> Float[Array, ""]:
    """log 1/K sum_k exp(v_k)."""
    return jax.nn.logsumexp(values) - math.log(values.shape[0])
