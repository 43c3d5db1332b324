"""A mixture of two Gaussians in one dimension, its means in order. Stan case study, Betancourt (2017)."""

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from jensen.targets._posteriordb.models._common import latent, with_prior


def low_dim_gauss_mix(y: Float[Array, " n"]) -> None:
    """y ~ theta N(mu_1, sigma_1^2) + (1 - theta) N(mu_2, sigma_2^2), mu_1 < mu_2.

    mu_k ~ N(0, 2^2), sigma_k ~ half-N(0, 2^2), theta ~ Beta(5, 5).
    """
    mu = with_prior("mu", dist.Normal(0.0, 2.0), (2,), constraints.ordered_vector)
    sigma = latent("sigma", dist.HalfNormal(2.0).expand([2]).to_event(1))
    theta = latent("theta", dist.Beta(5.0, 5.0))
    weights = dist.Categorical(logits=jnp.stack([jnp.log(theta), jnp.log1p(-theta)]))
    numpyro.sample("y", dist.MixtureSameFamily(weights, dist.Normal(mu, sigma)), obs=y)
