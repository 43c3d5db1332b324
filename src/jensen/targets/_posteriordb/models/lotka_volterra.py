"""Lynx and hare: the Lotka-Volterra equations with log-normal errors. Stan case study, Carpenter (2018)."""

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float

from jensen.targets._ode import solve
from jensen.targets._posteriordb.models._common import latent
from jensen.targets._posteriordb.models._forward_mode import by_forward_mode


def lotka_volterra(ts: Float[Array, " n"], y_init: Float[Array, " 2"], y: Float[Array, "n 2"]) -> None:
    """log y_k(t) ~ N(log z_k(t), sigma_k^2) at t = 0 and at `ts`, where z = (u, v) solves the equations.

    du/dt = (theta_1 - theta_2 v) u, dv/dt = (-theta_3 + theta_4 u) v, (u, v)(0) = z_init.

    theta_1, theta_3 ~ N(1, 0.5^2), theta_2, theta_4 ~ N(0.05, 0.05^2), all positive; sigma_k ~ LogNormal(-1, 1),
    z_init_k ~ LogNormal(log 10, 1).
    """
    location, scale = jnp.array([1.0, 0.05, 1.0, 0.05]), jnp.array([0.5, 0.05, 0.5, 0.05])
    theta = latent("theta", dist.TruncatedNormal(location, scale, low=0.0).to_event(1))
    z_init = latent("z_init", dist.LogNormal(jnp.log(10.0), jnp.ones(2)).to_event(1))
    sigma = latent("sigma", dist.LogNormal(-1.0, jnp.ones(2)).to_event(1))
    log_z = by_forward_mode(lambda x: log_populations(x[:4], x[4:], ts))(jnp.concatenate([theta, jnp.log(z_init)]))
    numpyro.sample("y_init", dist.LogNormal(jnp.log(z_init), sigma), obs=y_init)
    numpyro.sample("y", dist.LogNormal(log_z, sigma), obs=y)


def log_populations(
    theta: Float[Array, " 4"], log_start: Float[Array, " 2"], times: Float[Array, " n"]
) -> Float[Array, "n 2"]:
    """log (u, v) at `times`, in logs so that populations stay positive; precision and limits are those of `solve`."""
    alpha, beta, gamma, delta = theta

    def growth(log_z: Float[Array, " 2"]) -> Float[Array, " 2"]:
        z = jnp.exp(log_z)
        return jnp.stack([alpha - beta * z[1], -gamma + delta * z[0]])

    return solve(growth, log_start, times)  # the posterior needs 64 steps, starts uniform in (-2, 2) up to 650
