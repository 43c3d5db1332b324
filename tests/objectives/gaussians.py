"""Two Gaussians on the line, and exact expectations under the first by Gauss-Hermite quadrature."""

import jax
import jax.numpy as jnp
import numpy as np

from jensen.families import DiagonalGaussian
from jensen.targets import from_log_density

LOG_Z, MEAN, SCALE = 0.7, 0.4, 0.8  # of p
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(80)
WEIGHTS = jnp.asarray(WEIGHTS / WEIGHTS.sum())
AT = jnp.array([0.0, 0.1])  # mean and log scale of q: wider than p, so that the moments of the weights exist


def log_p(z, log_z=LOG_Z):
    return log_z - 0.5 * ((z - MEAN) / SCALE) ** 2 - jnp.log(SCALE) - 0.5 * jnp.log(2 * jnp.pi)


TARGET = from_log_density(lambda z: jnp.sum(log_p(z)), jnp.zeros(1))


def q_of(at):
    return DiagonalGaussian(at[:1], at[1:])


def nodes(at):
    """Nodes of q and the log weights there."""
    z = at[0] + jnp.exp(at[1]) * jnp.asarray(NODES)
    log_q = -0.5 * jnp.asarray(NODES) ** 2 - at[1] - 0.5 * jnp.log(2 * jnp.pi)
    return z, log_p(z) - log_q


def expected(phi, at, num_weights):
    """E[phi(log w_1..log w_K)] for K of 1 or 2."""
    _, log_w = nodes(at)
    if num_weights == 1:
        return WEIGHTS @ jax.vmap(lambda a: phi(a[None]))(log_w)
    pairs = jax.vmap(lambda a: jax.vmap(lambda b: phi(jnp.stack([a, b])))(log_w))(log_w)
    return WEIGHTS @ pairs @ WEIGHTS


def replicates(objective, num, at=AT):
    """Values and gradients by mean and log scale of `num` evaluations."""

    def once(key):
        def loss(at):
            estimate = objective.loss(key, q_of(at), TARGET)
            return estimate.surrogate, estimate.value

        (_, value), gradient = jax.value_and_grad(loss, has_aux=True)(at)
        return value, gradient

    return jax.jit(jax.vmap(once))(jax.random.split(jax.random.key(0), num))


def agrees(draws, truth, share):
    """The mean within five standard errors, which are below `share` of the size of the truth."""
    error = jnp.std(draws, axis=0) / np.sqrt(len(draws))
    assert jnp.all(jnp.abs(jnp.mean(draws, axis=0) - truth) < 5 * error + 1e-12)
    assert jnp.all(5 * error < share * jnp.max(jnp.abs(truth)))
