"""The Poisson distribution by its log rate."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln
from jaxtyping import Array
from numpyro.distributions import Distribution, constraints


class PoissonLog(Distribution):
    """P(k) = exp(k log_rate - exp(log_rate)) / k!, finite and differentiable where exp(log_rate) is rounded to zero."""

    arg_constraints: ClassVar[dict[str, Any]] = {"log_rate": constraints.real}
    support: Any = constraints.nonnegative_integer

    def __init__(self, log_rate: Array, *, validate_args: bool | None = None):
        self.log_rate = log_rate
        super().__init__(batch_shape=jnp.shape(log_rate), validate_args=validate_args)

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        return jax.random.poisson(key, jnp.exp(self.log_rate), sample_shape + self.batch_shape)

    def log_prob(self, value: Array) -> Array:
        return value * self.log_rate - jnp.exp(self.log_rate) - gammaln(value + 1)
