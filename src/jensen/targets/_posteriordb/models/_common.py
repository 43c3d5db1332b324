"""What several models share: flat priors, linear predictors, Gaussian regression."""

from typing import cast

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float
from numpyro.distributions import constraints


def latent(name: str, prior: dist.Distribution) -> Array:
    """A latent site: `numpyro.sample`, whose type is wider."""
    return cast(Array, numpyro.sample(name, prior))


def flat(name: str, shape: tuple[int, ...] = (), support: constraints.Constraint = constraints.real) -> Array:
    """A site with density 1 on `support`: what Stan assumes of a parameter without a prior."""
    return latent(name, dist.ImproperUniform(support, (), shape))


def with_prior(name: str, prior: dist.Distribution, shape: tuple[int, ...], support: constraints.Constraint) -> Array:
    """A site x on `support` with density proportional to prod_i prior(x_i): a prior under a joint constraint."""
    value = flat(name, shape, support)
    numpyro.factor(f"{name}_prior", jnp.sum(jnp.asarray(prior.log_prob(value))))
    return value


def regress(response: str, y: Float[Array, " n"], *columns: Float[Array, " n"]) -> None:
    """y ~ N(X beta, sigma^2) with X = (1, *columns) and a flat prior on beta (k,) and sigma > 0."""
    gaussian(response, y, flat("sigma", support=constraints.positive), *columns)


def gaussian(response: str, y: Float[Array, " n"], sigma: Float[Array, ""], *columns: Float[Array, " n"]) -> None:
    """y ~ N(X beta, sigma^2) with X = (1, *columns) and a flat prior on beta (k,)."""
    # One matrix product serves a batch of beta better than k fused multiplications, and X is the same at every step.
    design = jnp.stack([jnp.ones_like(y), *columns], axis=-1)
    beta = flat("beta", (design.shape[-1],))
    numpyro.sample(response, dist.Normal(design @ beta, sigma), obs=y)
