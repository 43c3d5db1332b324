"""The negative binomial distribution by its log mean; this module imports NumPyro, so import it where it is used."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax.scipy.special import gammaln
from numpyro.distributions import constraints


class NegativeBinomialLog(dist.Distribution):
    """Counts k of mean mu = exp(log_mean) and variance mu + mu^2 / alpha, alpha the `concentration`.

    log p(k) = lgamma(k + alpha) - lgamma(alpha) - lgamma(k + 1) - alpha log(1 + mu / alpha) - k log(1 + alpha / mu)

    NumPyro's own `NegativeBinomial2` goes through `betaln`, which JAX 0.10 computes with errors near 1e-6 in double
    precision, with a jump from k = 6 to 7.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {"log_mean": constraints.real, "concentration": constraints.positive}
    support = constraints.nonnegative_integer  # pyright: ignore
    pytree_data_fields = ("log_mean", "concentration")

    def __init__(self, log_mean: Any, concentration: Any, *, validate_args: bool | None = None):
        shape = jnp.broadcast_shapes(jnp.shape(log_mean), jnp.shape(concentration))
        self.log_mean = jnp.broadcast_to(log_mean, shape)
        self.concentration = jnp.broadcast_to(concentration, shape)
        super().__init__(shape, validate_args=validate_args)

    def sample(self, key: Any, sample_shape: tuple[int, ...] = ()) -> Any:
        rate_key, count_key = jax.random.split(key)
        rate = dist.Gamma(self.concentration, self.concentration * jnp.exp(-self.log_mean)).sample(
            rate_key, sample_shape
        )
        return dist.Poisson(rate).sample(count_key)

    def log_prob(self, value: Any) -> Any:
        alpha, offset = self.concentration, self.log_mean - jnp.log(self.concentration)
        choose = gammaln(value + alpha) - gammaln(alpha) - gammaln(value + 1.0)
        return choose - alpha * jax.nn.softplus(offset) - value * jax.nn.softplus(-offset)
