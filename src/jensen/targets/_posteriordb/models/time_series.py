"""Autoregression and GARCH of a series y_1..y_T. Stan User's Guide, time-series models."""

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from jensen.targets._posteriordb.models._common import flat, latent


def arK(y: Float[Array, " t"], K: int) -> None:
    """y_t ~ N(alpha + sum_k beta_k y_{t-k}, sigma^2) for t > K.

    alpha, beta_k ~ N(0, 10^2), sigma ~ half-Cauchy(2.5).
    """
    alpha = latent("alpha", dist.Normal(0.0, 10.0))
    beta = latent("beta", dist.Normal(0.0, 10.0).expand([K]).to_event(1))
    sigma = latent("sigma", dist.HalfCauchy(2.5))
    lags = jnp.stack([y[K - k : -k] for k in range(1, K + 1)], axis=-1)
    numpyro.sample("y", dist.Normal(alpha + lags @ beta, sigma), obs=y[K:])


def garch11(y: Float[Array, " t"], sigma1: Float[Array, ""]) -> None:
    """y_t ~ N(mu, s_t), s_t = alpha0 + alpha1 (y_{t-1} - mu)^2 + beta1 s_{t-1}, s_1 = sigma1^2; flat priors.

    alpha0 > 0, 0 < alpha1 < 1, 0 < beta1 < 1 - alpha1: the support of beta1 depends on alpha1.
    """
    mu = flat("mu")
    alpha0 = flat("alpha0", support=constraints.positive)
    alpha1 = flat("alpha1", support=constraints.unit_interval)
    beta1 = flat("beta1", support=constraints.interval(0.0, 1.0 - alpha1))
    innovations = alpha0 + alpha1 * (y[:-1] - mu) ** 2
    variance = discounted_sum(jnp.concatenate([sigma1[None] ** 2, innovations]), beta1)
    numpyro.sample("y", dist.Normal(mu, jnp.sqrt(variance)), obs=y)


def discounted_sum(x: Float[Array, " t"], rate: Float[Array, ""]) -> Float[Array, " t"]:
    """s_t = x_t + rate s_{t-1}, s_0 = 0. The plain recursion: an associative scan is slower on a CPU at t = 200."""

    def add(s: Float[Array, ""], x_t: Float[Array, ""]) -> tuple[Array, Array]:
        s = x_t + rate * s
        return s, s

    return jax.lax.scan(add, jnp.zeros((), x.dtype), x)[1]
