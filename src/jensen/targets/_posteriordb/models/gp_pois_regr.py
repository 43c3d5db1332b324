"""Poisson counts with a Gaussian process as log rate. Stan User's Guide, Gaussian processes."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float, Int

from jensen.targets._posteriordb.models._common import latent
from jensen.targets._posteriordb.models._poisson import PoissonLog


def gp_pois_regr(x: Float[Array, " n"], k: Int[Array, " n"]) -> None:
    """k_i ~ Poisson(exp f_i), f = L f_tilde, L L' = C, C_ij = alpha^2 exp(-(x_i - x_j)^2 / (2 rho^2)).

    rho ~ Gamma(25, 4), alpha ~ half-N(0, 2^2), f_tilde ~ N(0, 1); f is deterministic.
    """
    rho = latent("rho", dist.Gamma(25.0, 4.0))
    alpha = latent("alpha", dist.HalfNormal(2.0))
    f_tilde = latent("f_tilde", dist.Normal(jnp.zeros_like(x), 1.0).to_event(1))
    squared_distance = (x[:, None] - x) ** 2
    covariance = alpha**2 * jnp.exp(-0.5 * squared_distance / rho**2)
    # 1e-10 is Stan's. Below n eps alpha^2 (1e-6 alpha^2 in single precision) rounding would break the factorization.
    jitter = jnp.maximum(1e-10, x.shape[0] * jnp.finfo(x.dtype).eps * alpha**2)
    f = numpyro.deterministic("f", jnp.linalg.cholesky(covariance + jitter * jnp.eye(x.shape[0])) @ f_tilde)
    numpyro.sample("k", PoissonLog(f), obs=k)


def whitened_process(draws: dict[str, np.ndarray], data: dict[str, Any]) -> dict[str, np.ndarray]:
    """Latent sites from draws of rho (n,), alpha (n,) and f (n, points): f_tilde = L^-1 f."""
    x, rho, alpha = data["x"], draws["rho"][:, None, None], draws["alpha"][:, None, None]
    covariance = alpha**2 * np.exp(-0.5 * (x[:, None] - x) ** 2 / rho**2) + 1e-10 * np.eye(len(x))
    f_tilde = np.linalg.solve(np.linalg.cholesky(covariance), draws["f"][..., None])[..., 0]
    return {"rho": draws["rho"], "alpha": draws["alpha"], "f_tilde": f_tilde}
