"""The best Gaussian for a small logistic regression, by quadrature and an optimiser that the library does not use."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import minimize

from jensen.targets import from_log_density

ROWS, DIMENSION = 25, 3
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(64)


@functools.cache
def data():
    """Design (25, 3) and responses (25,)."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=(ROWS, DIMENSION))
    return x, (rng.random(ROWS) < 1 / (1 + np.exp(-x @ np.array([1.0, -2.0, 0.5])))).astype(float)


def log_density(z, x, y):
    logits = x @ z
    return y @ logits - jnp.sum(jax.nn.softplus(logits)) - 0.5 * z @ z


@functools.cache
def logistic_regression():
    """The target."""
    return from_log_density(log_density, np.zeros(DIMENSION), *data())


@jax.jit
def objective(mean, tril):
    """-ELBO in nats of N(mean, tril tril^T): exact up to one-dimensional quadrature, for x_i^T z is Gaussian."""
    x, y = data()
    centre, spread = x @ mean, jnp.linalg.norm(x @ tril, axis=1)
    softplus = jax.nn.softplus(centre[:, None] + spread[:, None] * _NODES) @ (_WEIGHTS / _WEIGHTS.sum())
    energy = jnp.sum(softplus) - y @ centre + 0.5 * (mean @ mean + jnp.sum(tril**2))
    log_det = jnp.sum(jnp.log(jnp.abs(jnp.diagonal(tril))))
    return energy - log_det - 0.5 * DIMENSION * (1 + jnp.log(2 * jnp.pi))


@functools.cache
def least_objective(full_rank: bool = True) -> float:
    """The least -ELBO over Gaussians, or over factorised ones."""
    rows, columns = np.tril_indices(DIMENSION) if full_rank else (np.arange(DIMENSION),) * 2

    def value(parameters):
        tril = jnp.zeros((DIMENSION, DIMENSION)).at[rows, columns].set(parameters[DIMENSION:])
        return objective(parameters[:DIMENSION], tril)

    slope = jax.jit(jax.value_and_grad(value))
    begin = np.concatenate([np.zeros(DIMENSION), 0.5 * np.eye(DIMENSION)[rows, columns]])
    found = minimize(lambda p: jax.tree.map(np.asarray, slope(p)), begin, jac=True, method="L-BFGS-B")
    return float(found.fun)


def excess(posterior) -> float:
    """-ELBO of a Gaussian posterior above the least, in nats."""
    mean, cov = posterior.mean_and_cov()
    return float(objective(mean, jnp.linalg.cholesky(cov))) - least_objective()
