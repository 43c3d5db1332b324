"""The density of a normal vector, and its derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from jensen.gp._linalg import WHOLE, inverse_from, log_normal


def through_the_factor(y, k):
    tril = jnp.linalg.cholesky(k)
    white = jax.scipy.linalg.solve_triangular(tril, y, lower=True)
    return -0.5 * white @ white - jnp.sum(jnp.log(jnp.diagonal(tril))) - 0.5 * len(y) * jnp.log(2 * jnp.pi)


def problem(seed, n=7):
    rng = np.random.default_rng(seed)
    half, other = rng.standard_normal((2, n, n))
    y = jnp.asarray(rng.standard_normal(n))

    def at(theta):
        """y and a covariance, as smooth functions of two numbers."""
        return y * jnp.cos(theta[0]), half @ half.T * jnp.exp(theta[0]) + other @ other.T * theta[1] ** 2 + jnp.eye(n)

    return at, jnp.asarray(rng.standard_normal(2))


@pytest.mark.parametrize("seed", range(5))
def test_the_log_density_of_a_normal_vector_and_its_derivatives(seed):
    at, theta = problem(seed)
    y, k = at(theta)
    assert float(log_normal(y, k)) == pytest.approx(multivariate_normal(np.zeros(7), k).logpdf(y), rel=1e-12)

    @jax.jit
    def derivatives(theta):
        def pair(f):
            g = lambda t: f(*at(t))  # noqa: E731
            return jax.grad(g)(theta), jax.jacfwd(g)(theta), jax.hessian(g)(theta), jax.jacrev(jax.grad(g))(theta)

        return pair(log_normal), pair(through_the_factor)

    ours, theirs = derivatives(theta)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-10)


def test_a_matrix_that_is_not_positive_definite_has_no_density_and_no_gradient():
    value, gradient = jax.value_and_grad(log_normal, argnums=1)(jnp.ones(2), jnp.array([[1.0, 2.0], [2.0, 1.0]]))
    assert np.isnan(value)
    assert np.all(np.isnan(gradient))


@pytest.mark.parametrize("n", [1, WHOLE, WHOLE + 1, 2 * WHOLE + 3])
def test_the_inverse_by_halves(n):
    x = np.random.default_rng(n).uniform(size=(n, 3))
    k = jnp.asarray(np.exp(-0.5 * np.sum((x[:, None] - x) ** 2, -1)) + 0.1 * np.eye(n))
    tril = jnp.linalg.cholesky(k)
    upper, inverse = jax.jit(inverse_from)(tril)
    np.testing.assert_allclose(upper, np.linalg.inv(tril).T, atol=1e-11)
    np.testing.assert_allclose(inverse, np.linalg.inv(k), atol=1e-11)
    np.testing.assert_array_equal(upper, np.triu(upper))
