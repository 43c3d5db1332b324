"""Hidden Markov models of two states, the states summed out. Stan User's Guide, hidden Markov models."""

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from jensen.targets._posteriordb.models._common import latent, with_prior


def hmm_example(y: Float[Array, " t"]) -> None:
    """y_t ~ N(mu_{s_t}, 1), P(s_t = j | s_{t-1} = i) = theta_ij, mu_1 < mu_2 positive.

    theta_i uniform on the simplex, mu_1 ~ N(3, 1), mu_2 ~ N(10, 1).
    """
    theta = jnp.stack([latent(name, dist.Dirichlet(jnp.ones(2))) for name in ("theta1", "theta2")])
    prior = dist.Normal(jnp.array([3.0, 10.0]), 1.0)
    mu = with_prior("mu", prior, (2,), constraints.positive_ordered_vector)
    emission = dist.Normal(mu, 1.0).log_prob(y[:, None])
    numpyro.factor("y", log_evidence(jnp.log(theta), emission))


def hmm_drive_0(u: Float[Array, " t"], v: Float[Array, " t"], alpha: Float[Array, "k k"]) -> None:
    """u_t ~ Exponential(phi_{s_t}), v_t ~ Exponential(lambda_{s_t}), P(s_t = j | s_{t-1} = i) = theta_ij.

    theta_i ~ Dirichlet(alpha_i); phi and lambda positive and ordered, first entries N(0, 1), second N(3, 1).
    """
    theta = jnp.stack([latent(f"theta{i + 1}", dist.Dirichlet(alpha[i])) for i in range(2)])
    prior = dist.Normal(jnp.array([0.0, 3.0]), 1.0)
    phi = with_prior("phi", prior, (2,), constraints.positive_ordered_vector)
    rate = with_prior("lambda", prior, (2,), constraints.positive_ordered_vector)
    emission = dist.Exponential(phi).log_prob(u[:, None]) + dist.Exponential(rate).log_prob(v[:, None])
    numpyro.factor("u_v", log_evidence(jnp.log(theta), emission))


def log_evidence(log_theta: Float[Array, "k k"], emission: Float[Array, "t k"]) -> Float[Array, ""]:
    """log of the sum over paths s of prod_t exp(emission[t, s_t]) prod_{t>1} theta[s_{t-1}, s_t].

    The forward algorithm in logs; every first state has weight 1. A balanced product of t matrices has depth log2 t,
    but on a CPU it takes twice the time and four times the compilation (measured for t = 416, k = 2).
    """

    def forward(log_alpha: Float[Array, " k"], emission_t: Float[Array, " k"]) -> tuple[Array, None]:
        return jax.nn.logsumexp(log_alpha[:, None] + log_theta, axis=0) + emission_t, None

    log_alpha, _ = jax.lax.scan(forward, emission[0], emission[1:])
    return jax.nn.logsumexp(log_alpha)
