"""Eight schools, centred and not. Rubin (1981); Gelman et al. (2013), ch. 5."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float

from jensen.targets._posteriordb.models._common import latent


def _population() -> tuple[Float[Array, ""], Float[Array, ""]]:
    return latent("mu", dist.Normal(0.0, 5.0)), latent("tau", dist.HalfCauchy(5.0))


def eight_schools_centered(y: Float[Array, " j"], sigma: Float[Array, " j"]) -> None:
    """y_j ~ N(theta_j, sigma_j^2), theta_j ~ N(mu, tau^2), mu ~ N(0, 5^2), tau ~ half-Cauchy(5)."""
    mu, tau = _population()
    theta = latent("theta", dist.Normal(mu, tau).expand(y.shape).to_event(1))
    numpyro.sample("y", dist.Normal(theta, sigma), obs=y)


def eight_schools_noncentered(y: Float[Array, " j"], sigma: Float[Array, " j"]) -> None:
    """The same posterior over theta_trans = (theta - mu) / tau ~ N(0, 1); theta is deterministic."""
    theta_trans = latent("theta_trans", dist.Normal(jnp.zeros_like(y), 1.0).to_event(1))
    mu, tau = _population()
    theta = numpyro.deterministic("theta", mu + tau * theta_trans)
    numpyro.sample("y", dist.Normal(theta, sigma), obs=y)


def standardised_effects(draws: dict[str, np.ndarray], data: dict[str, Any]) -> dict[str, np.ndarray]:
    """Latent sites of the non-centred model from draws of theta (n, j), mu (n,) and tau (n,)."""
    theta_trans = (draws["theta"] - draws["mu"][:, None]) / draws["tau"][:, None]
    return {"theta_trans": theta_trans, "mu": draws["mu"], "tau": draws["tau"]}
