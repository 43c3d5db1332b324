import jax
import jax.numpy as jnp
import numpy as np

from jensen.algorithms import GradientDraws, HessianDraws
from jensen.algorithms._gaussian import bures_wasserstein_norm, lower_factor, start_gaussian, stationarity
from jensen.core import DensityPosterior, DrawsPosterior, PointPosterior, real_space
from jensen.families import DiagonalGaussian, Gaussian
from jensen.targets import from_log_density

Q = Gaussian(jnp.array([0.3, -0.7, 1.1]), jnp.array([[0.9, 0.0, 0.0], [0.4, 0.7, 0.0], [-0.2, 0.3, 1.2]]))
PRECISION = jnp.array([[2.0, 0.4, -0.3], [0.4, 1.5, 0.2], [-0.3, 0.2, 3.0]])
SPACE = real_space(z=(3,))


def quadratic(z, precision):
    return -0.5 * z @ precision @ z + z[0]


def quartic(z):
    return -jnp.sum(z**4) / 12


def test_derivatives_of_a_quadratic_are_exact_by_hessians(key):
    target = from_log_density(quadratic, np.zeros(3), PRECISION)
    _, gradient, hessian = HessianDraws(2).estimate(key, Q, target)
    np.testing.assert_allclose(gradient, -PRECISION @ Q.mean + jnp.eye(3)[0], atol=1e-12)
    np.testing.assert_allclose(hessian, -PRECISION, atol=1e-12)


def errors(derivatives, target, truth, num=200, seed=0):
    """Mean error over estimates and its standard error, for the Hessian and the gradient."""
    keys = jax.random.split(jax.random.key(seed), num)
    estimates = jax.jit(jax.vmap(lambda key: derivatives.estimate(key, Q, target)))(keys)
    return [(np.mean(e, 0) - t, np.std(e, 0, ddof=1) / np.sqrt(num)) for e, t in zip(estimates, truth, strict=True)]


def moments_of_the_quartic():
    """E z^4, E z^3, E z^2 coordinate by coordinate: value, gradient and Hessian of -sum z^4 / 12 in expectation."""
    m, v = Q.mean, jnp.diagonal(Q.cov)
    return -jnp.sum(m**4 + 6 * m**2 * v + 3 * v**2) / 12, -(m**3 + 3 * m * v) / 3, -jnp.diag(m**2 + v)


def test_derivatives_of_a_quartic_are_unbiased_by_hessians_and_by_gradients():
    target, truth = from_log_density(quartic, np.zeros(3)), moments_of_the_quartic()
    for seed in range(5):
        for derivatives in (HessianDraws(8), GradientDraws(8)):
            for error, standard in errors(derivatives, target, truth, seed=seed):
                assert np.all(np.abs(error) < 5 * standard + 1e-12)


def test_price_agrees_with_the_hessian_of_a_quadratic():
    target = from_log_density(quadratic, np.zeros(3), PRECISION)
    truth = (0.0, -PRECISION @ Q.mean + jnp.eye(3)[0], -PRECISION)
    (_, _), (gradient, _), (hessian, standard) = errors(GradientDraws(64), target, truth)
    assert np.all(np.abs(gradient) < 1e-10)  # pairs cancel
    assert np.all(np.abs(hessian) < 5 * standard)
    assert np.all(5 * standard < 0.5)


def test_a_gaussian_is_stationary_for_itself():
    zero = jnp.zeros(3)
    precision = jnp.linalg.inv(Q.cov)
    assert stationarity(Q, zero, -precision) < 1e-12
    assert bures_wasserstein_norm(Q, zero, -precision) < 1e-12
    truth = jnp.sqrt(jnp.trace((precision - PRECISION) @ Q.cov @ (precision - PRECISION)))
    np.testing.assert_allclose(bures_wasserstein_norm(Q, zero, -PRECISION), truth, rtol=1e-12)


def test_lower_factor_is_the_cholesky_factor():
    root = jax.random.normal(jax.random.key(0), (3, 5))
    np.testing.assert_allclose(lower_factor(root), jnp.linalg.cholesky(root @ root.T), rtol=1e-10, atol=1e-12)


def test_start_takes_over_what_a_posterior_knows(key):
    assert start_gaussian(DensityPosterior(SPACE, Q)).scale_tril is not None
    np.testing.assert_array_equal(start_gaussian(DensityPosterior(SPACE, Q)).cov, Q.cov)
    diagonal = DiagonalGaussian(Q.mean, jnp.array([0.1, 0.2, -0.3]))
    np.testing.assert_allclose(start_gaussian(DensityPosterior(SPACE, diagonal)).cov, diagonal.mean_and_cov()[1])
    few = DrawsPosterior(SPACE, jax.random.normal(key, (1, 2, 3)))
    assert np.all(np.isfinite(start_gaussian(few).scale_tril))
    np.testing.assert_allclose(start_gaussian(PointPosterior(SPACE, Q.mean)).cov, 0.01 * jnp.eye(3))
