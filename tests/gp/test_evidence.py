import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.stats

from jensen.core import InputError
from jensen.gp.evidence import leave_one_out, predictive_loss, spectral_evidence


@pytest.fixture(params=(5, 60), ids="rank{}".format)
def problem(request):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, request.param))
    k = x @ x.T / request.param
    return jnp.asarray(k), jnp.asarray(x @ rng.normal(size=request.param) + rng.normal(size=40))


def test_eigenform_equals_the_density_of_the_data(problem):
    k, y = problem
    found = spectral_evidence(k, y).negative_log(1.3, 0.4)
    truth = -scipy.stats.multivariate_normal(np.zeros(40), 1.3 * k + 0.4 * np.eye(40)).logpdf(y)
    np.testing.assert_allclose(found, truth, rtol=1e-10)


def test_profile_is_the_minimum_over_the_common_scale(problem):
    evidence = spectral_evidence(*problem)
    for ratio in (0.01, 1.0, 30.0):
        truth = scipy.optimize.minimize_scalar(
            lambda t, r=ratio: float(evidence.negative_log(r * np.exp(t), np.exp(t))), bounds=(-12, 6), method="bounded"
        )
        np.testing.assert_allclose(evidence.profiled(ratio), truth.fun, rtol=1e-10)


def test_best_is_the_minimum_over_both(problem):
    evidence = spectral_evidence(*problem)
    scale, noise = jax.jit(lambda e: e.best())(evidence)
    found = float(evidence.negative_log(scale, noise))
    fun = jax.jit(lambda t: evidence.negative_log(jnp.exp(t[0]), jnp.exp(t[1])))
    for start in ((0, 0), (-5, 0), (0, -5), (3, 3)):
        other = scipy.optimize.minimize(fun, np.array(start, float), jac=jax.jit(jax.grad(fun)), bounds=[(-12, 12)] * 2)
        assert found <= other.fun + 1e-8


def test_leave_one_out_equals_leaving_each_out(problem):
    k, y = problem
    c = np.asarray(k + 0.3 * jnp.eye(40))
    mean, variance = leave_one_out(jnp.asarray(c), y)
    for i in (0, 17, 39):
        rest = np.arange(40) != i
        weights = np.linalg.solve(c[np.ix_(rest, rest)], c[rest, i])
        np.testing.assert_allclose(mean[i], weights @ y[rest], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(variance[i], c[i, i] - weights @ c[rest, i], rtol=1e-9)


def test_predictive_loss_is_the_expected_squared_error():
    rng = np.random.default_rng(1)
    mean, variance, y = rng.normal(size=7), rng.uniform(0.1, 1, 7), rng.normal(size=7)
    draws = mean + np.sqrt(0.5 * variance) * rng.normal(size=(200_000, 7))
    losses = np.mean((draws - y) ** 2, axis=1)
    found = predictive_loss(jnp.asarray(mean), jnp.asarray(variance), jnp.asarray(y), 0.5)
    assert abs(found - losses.mean()) < 5 * losses.std() / np.sqrt(len(losses))
    with pytest.raises(InputError, match="temperature"):
        predictive_loss(jnp.asarray(mean), jnp.asarray(variance), jnp.asarray(y), -1.0)
