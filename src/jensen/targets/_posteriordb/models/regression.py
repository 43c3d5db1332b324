"""Two regressions with proper priors: diamonds (made with brms) and the sparse-data linear regression."""

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float

from jensen.targets._posteriordb.models._common import latent


def blr(X: Float[Array, "n d"], y: Float[Array, " n"]) -> None:
    """y ~ N(X beta, sigma^2), beta ~ N(0, 10^2), sigma ~ half-N(0, 10^2)."""
    beta = latent("beta", dist.Normal(0.0, 10.0).expand([X.shape[1]]).to_event(1))
    sigma = latent("sigma", dist.HalfNormal(10.0))
    numpyro.sample("y", dist.Normal(X @ beta, sigma), obs=y)


def diamonds(X: Float[Array, "n k"], Y: Float[Array, " n"]) -> None:
    """Y ~ N(Intercept + (x - mean x) . b, sigma^2), x the columns of X but the first, which is 1.

    b (k - 1,) ~ N(0, 1), Intercept ~ t_3(8, 10), sigma ~ half-t_3(10). The intercept is that of the centred predictors.
    """
    b = latent("b", dist.Normal(0.0, 1.0).expand([X.shape[1] - 1]).to_event(1))
    intercept = latent("Intercept", dist.StudentT(3.0, 8.0, 10.0))
    sigma = latent("sigma", dist.FoldedDistribution(dist.StudentT(3.0, 0.0, 10.0)))
    # The column of ones takes the centring, so that no centred copy of X is made.
    at_zero = intercept - X.mean(axis=0)[1:] @ b
    numpyro.sample("Y", dist.Normal(X @ jnp.concatenate([at_zero[None], b]), sigma), obs=Y)
