import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.stats

import jensen as jn
from jensen.core import InputError
from jensen.gp.infinite_width import IID, NNGP, RandomNetwork, ScaledByPrior, draw_networks
from jensen.gp.kernels.stationary import RBF
from jensen.gp.student_t_process import ScaleMixtureProcess, StudentTProcess

RNG = np.random.default_rng(0)
X, X_NEW = np.sort(RNG.uniform(-2, 2, 8)), np.array([-0.5, 1.0, 3.0])
Y = 2.0 * np.sin(2 * X) + 0.1 * RNG.normal(size=8)
PROCESS = StudentTProcess(RBF(0.8), noise=0.05, shape=2.5, rate=1.5)


def covariance(x):
    return np.asarray(PROCESS.kernel(jnp.asarray(x), jnp.asarray(x))) + (0.05 + 1e-10 * 1.05) * np.eye(len(x))


def evidence_by_quadrature(x, y):
    prior = scipy.stats.invgamma(2.5, scale=1.5)
    normal = scipy.stats.multivariate_normal(np.zeros(len(x)), covariance(x))
    white = normal.logpdf(y)
    square = y @ np.linalg.solve(covariance(x), y)
    top = white

    def integrand(t):  # over t = log s
        return prior.pdf(np.exp(t)) * np.exp(t + white - top - 0.5 * (square * np.expm1(-t) + len(x) * t))

    value = scipy.integrate.quad(integrand, -8, 12, epsabs=1e-13, epsrel=1e-12, limit=500)[0]
    return float(np.log(value) + top)


def test_evidence_is_the_integral_over_the_scale():
    assert abs(PROCESS.log_evidence(jnp.asarray(X), jnp.asarray(Y)) - evidence_by_quadrature(X, Y)) < 1e-8


def test_predictive_is_the_ratio_of_evidences():
    new = np.array([0.3, -1.0, 0.8])
    both = evidence_by_quadrature(np.concatenate([X, X_NEW]), np.concatenate([Y, new]))
    found = PROCESS.predict(X, Y, X_NEW).log_prob(jnp.asarray(new))
    assert abs(found - (both - evidence_by_quadrature(X, Y))) < 1e-7


def test_it_is_a_gaussian_process_where_the_scale_is_known():
    process = StudentTProcess(RBF(0.8), noise=0.05, shape=1e8, rate=1e8)
    normal = scipy.stats.multivariate_normal(np.zeros(8), covariance(X))
    np.testing.assert_allclose(process.log_evidence(jnp.asarray(X), jnp.asarray(Y)), normal.logpdf(Y), atol=1e-4)


def test_mixture_over_nodes_of_the_scale_is_the_closed_form():
    t = np.linspace(-8, 12, 2001)
    log_weights = scipy.stats.invgamma(2.5, scale=1.5).logpdf(np.exp(t)) + t
    mixture = ScaleMixtureProcess(RBF(0.8), jnp.asarray(t), jnp.asarray(log_weights), noise=0.05)
    exact, found = PROCESS.predict(X, Y, X_NEW), mixture.predict(X, Y, X_NEW)
    np.testing.assert_allclose(found.log_prob(jnp.ones(3)), exact.log_prob(jnp.ones(3)), atol=1e-8)
    np.testing.assert_allclose(found.mean_and_cov()[1], exact.mean_and_cov()[1], rtol=1e-7)
    x, y = jnp.asarray(X), jnp.asarray(Y)
    np.testing.assert_allclose(mixture.log_evidence(x, y), PROCESS.log_evidence(x, y), atol=1e-8)


def test_wide_networks_of_random_last_layer_variance_are_this_process():
    x = jnp.asarray([[1.0, 0.2], [-0.5, 1.0], [0.3, -1.5]])
    network = RandomNetwork(width=200, readout=ScaledByPrior(IID(), shape=2.0, rate=2.0))
    f = np.asarray(jax.jit(lambda k: draw_networks(k, network, x, 4000))(jax.random.key(0)))[..., 0]
    square = np.sum(f * np.linalg.solve(np.asarray(NNGP()(x, x)), f.T).T, axis=1) / 3
    assert scipy.stats.kstest(square, scipy.stats.f(3, 4.0).cdf).pvalue > 1e-6
    assert scipy.stats.kstest(3 * square, scipy.stats.chi2(3).cdf).pvalue < 1e-6


def test_hyperparameters_are_trained_by_the_evidence():
    x, y = jnp.asarray(X), jnp.asarray(Y)

    def density(theta, x, y):
        lengthscale, noise, rate = jnp.exp(theta)
        return StudentTProcess(RBF(lengthscale), noise, 2.0, rate).log_evidence(x, y) - 0.05 * jnp.sum(theta**2)

    fit = jn.run(
        jn.algorithms.Mode(num_starts=1),
        jn.targets.from_log_density(density, jnp.zeros(3), x, y),
        key=jax.random.key(0),
        certify=False,
        progress=False,
    )
    best = fit.posterior.z
    slope = eqx.filter_jit(jax.grad(lambda t: density(t, x, y)))(best)
    np.testing.assert_allclose(slope, 0.0, atol=1e-4)


def test_bad_data_are_refused():
    for x, y, new, words in [
        (X, Y[:-1], X_NEW, "must be"),
        (X, np.where(np.arange(8) == 3, np.nan, Y), X_NEW, "NaN"),
        (X, Y, np.ones((2, 2)), "columns"),
    ]:
        with pytest.raises(InputError, match=words):
            PROCESS.predict(x, y, new)
    repeated = np.concatenate([X, X[:1]])
    with pytest.raises(InputError, match="coincide"):
        StudentTProcess(RBF(0.8), noise=-0.1).predict(repeated, np.concatenate([Y, Y[:1]]), X_NEW)
