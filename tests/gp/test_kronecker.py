import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen.core import InputError
from jensen.gp._linalg import jitter
from jensen.gp.kernels.spectral import SpectralMixture, StudentTMixture
from jensen.gp.kernels.stationary import Matern12, Matern32
from jensen.gp.kronecker import kronecker_matvec, kronecker_prior, kronecker_regression

KERNELS = (Matern32(0.5, 1.3), Matern12(0.8), Matern32(0.6))


def grid(d):
    return [jnp.linspace(0, 1, n) for n in (12, 12, 5)[:d]]


def dense(d, jittered=True):
    grams = [np.asarray(k(x, x)) for k, x in zip(KERNELS, grid(d), strict=False)]
    if jittered:
        grams = [g + jitter(jnp.asarray(g)) * np.eye(len(g)) for g in grams]
    return functools.reduce(np.kron, grams)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_product_solve_and_determinant_equal_the_dense_ones(d):
    prior = kronecker_prior(KERNELS[:d], grid(d))
    k = dense(d)
    v = np.random.default_rng(0).normal(size=prior.shape)
    np.testing.assert_allclose(prior.matvec(jnp.asarray(v)).ravel(), k @ v.ravel(), rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(prior.solve(prior.matvec(jnp.asarray(v))), v, atol=1e-8)
    np.testing.assert_allclose(prior.log_det(), np.linalg.slogdet(k)[1], rtol=1e-9)
    white = prior.to_white(jnp.asarray(v))
    np.testing.assert_allclose(prior.from_white(white), v, atol=1e-9)
    truth = -0.5 * (jnp.sum(white**2) + np.linalg.slogdet(2 * np.pi * k)[1])
    np.testing.assert_allclose(prior.log_prob(jnp.asarray(v)), truth, rtol=1e-9)


def test_the_dense_matrix_is_never_made():
    prior = kronecker_prior(KERNELS[:2], [jnp.linspace(0, 1, 300)] * 2)  # dense: 65 GB
    assert bool(jnp.isfinite(prior.log_prob(jnp.zeros(prior.shape))))


@pytest.mark.parametrize("d", [1, 2])
def test_regression_equals_the_dense_one(d):
    fit_shape = tuple(len(x) for x in grid(d))
    y = np.random.default_rng(1).normal(size=fit_shape)
    fit = kronecker_regression(KERNELS[:d], grid(d), y)
    k, n = 1.7 * dense(d, jittered=False), y.size
    c = k + 0.3 * np.eye(n)
    truth = 0.5 * (y.ravel() @ np.linalg.solve(c, y.ravel()) + np.linalg.slogdet(2 * np.pi * c)[1])
    np.testing.assert_allclose(fit.evidence.negative_log(1.7, 0.3), truth, rtol=1e-9)
    np.testing.assert_allclose(fit.mean(1.7, 0.3).ravel(), k @ np.linalg.solve(c, y.ravel()), atol=1e-9)
    np.testing.assert_allclose(fit.variance(1.7, 0.3).ravel(), np.diag(k - k @ np.linalg.solve(c, k)), atol=1e-9)
    scale, noise = fit.evidence.best()
    assert fit.evidence.negative_log(scale, noise) <= fit.evidence.negative_log(1.7, 0.3)


def test_matvec_with_rectangular_factors():
    rng = np.random.default_rng(0)
    factors, v = [rng.normal(size=s) for s in ((2, 3), (4, 5), (1, 2))], rng.normal(size=(3, 5, 2))
    found = kronecker_matvec([jnp.asarray(f) for f in factors], jnp.asarray(v))
    np.testing.assert_allclose(found.ravel(), functools.reduce(np.kron, factors) @ v.ravel(), atol=1e-12)


@pytest.mark.parametrize("kind", [SpectralMixture, StudentTMixture])
def test_spectral_kernels_are_positive_and_twice_differentiable_at_zero(kind):
    kernel = kind([0.5, 1.0], [0.8, 2.0], [3.0, 0.7])
    x = jnp.linspace(0, 2, 30)
    assert np.linalg.eigvalsh(kernel(x, x))[0] > -1e-12
    np.testing.assert_allclose(kernel(x)[0], 1.5)
    k = lambda d: kernel.evaluate(d, jnp.zeros(()))  # noqa: E731
    h = 1e-3
    truth = (k(jnp.asarray(h)) - 2 * k(jnp.zeros(())) + k(jnp.asarray(-h))) / h**2
    np.testing.assert_allclose(eqx.filter_jit(jax.grad(jax.grad(k)))(jnp.zeros(())), truth, rtol=1e-3)


def test_clear_errors():
    cases = {
        "One kernel an axis": lambda: kronecker_prior(KERNELS[:1], grid(2)),
        "vector": lambda: kronecker_prior(KERNELS[:1], [jnp.zeros((3, 2))]),
        "shape": lambda: kronecker_regression(KERNELS[:2], grid(2), np.zeros(3)),
        "NaN": lambda: kronecker_regression(KERNELS[:1], grid(1), np.full(12, np.nan)),
        "one length": lambda: SpectralMixture([1.0], [1.0, 2.0], [0.0]),
    }
    for words, attempt in cases.items():
        with pytest.raises(InputError, match=words):
            attempt()
