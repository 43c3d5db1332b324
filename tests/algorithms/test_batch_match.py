import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.algorithms.gaussian_optimum import DIMENSION, excess, logistic_regression

from jensen._run import drive
from jensen.algorithms import BatchMatch, Laplace
from jensen.algorithms.batch_match import drift, match
from jensen.core import DensityPosterior, InputError, PointPosterior, StopCode
from jensen.families import Gaussian, kl_gaussian
from jensen.targets import from_log_density

UNIFORM = jnp.full(6, 1 / 6)


def rows(key, batch, d):
    return jax.random.normal(key, (2, batch, d)) * jnp.array([1.0, 3.0])[:, None, None]


def equation(noise, score, rate):
    """U and V of S U S + S = V, from their definitions."""
    d = noise.shape[1]
    share = rate / (1 + rate)
    u = rate * np.cov(score.T, bias=True) + share * np.outer(score.mean(0), score.mean(0))
    v = np.eye(d) + rate * np.cov(noise.T, bias=True) + share * np.outer(noise.mean(0), noise.mean(0))
    return u, v


@pytest.mark.parametrize("d", [4, 6, 20], ids=["batch above d", "batch d", "batch below d/2"])
def test_match_solves_its_equation(key, d):
    noise, score = rows(key, 6, d)
    for rate in (0.1, 1.0, 100.0):
        shift, cov = match(noise, score, UNIFORM, jnp.asarray(rate))
        u, v = equation(np.asarray(noise), np.asarray(score), rate)
        np.testing.assert_allclose(cov @ u @ cov + cov, v, atol=1e-9 * np.max(v))
        np.testing.assert_allclose(shift, rate / (1 + rate) * (cov @ score.mean(0) + noise.mean(0)), atol=1e-10)


def test_weights_leave_draws_out(key):
    noise, score = rows(key, 6, 4)
    weights = jnp.array([0.25, 0.25, 0.25, 0.25, 0.0, 0.0])
    for whole, part in zip(
        match(noise, score, weights, jnp.asarray(2.0)),
        match(noise[:4], score[:4], weights[:4], jnp.asarray(2.0)),
        strict=True,
    ):
        np.testing.assert_allclose(whole, part, atol=1e-12)


def quadratic(z, mean, precision):
    return -0.5 * (z - mean) @ precision @ (z - mean)


def gaussian(d, condition, seed):
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(d, d)))[0]
    precision = (basis * np.geomspace(1 / condition, 1, d)) @ basis.T
    mean = 10 * rng.normal(size=d)
    return from_log_density(quadratic, np.zeros(d), mean, precision), Gaussian(
        jnp.asarray(mean), jnp.linalg.cholesky(jnp.linalg.inv(precision))
    )


@pytest.mark.parametrize("seed", range(5))
def test_ill_conditioned_gaussian_is_matched_to_rounding_from_afar(seed):
    target, truth = gaussian(20, 1e6, seed)
    outcome = drive(BatchMatch(), target, key=jax.random.key(seed), steps=200)
    assert outcome.run.stop is StopCode.CONVERGED
    assert abs(kl_gaussian(outcome.posterior.q, truth)) < 1e-8


def test_batch_below_the_dimension_still_matches_a_gaussian():
    target, truth = gaussian(40, 100, 0)
    outcome = drive(BatchMatch(batch_size=16), target, key=jax.random.key(0), steps=1000)
    assert abs(kl_gaussian(outcome.posterior.q, truth)) < 1e-8


@pytest.mark.parametrize("scale", [1e-4, 1e3], ids=["far too narrow", "far too wide"])
def test_poor_starts_are_recovered_from(key, scale):
    target = logistic_regression()
    start = Gaussian(jnp.full(DIMENSION, 30.0), scale * jnp.eye(DIMENSION))
    outcome = drive(BatchMatch(), target, key=key, steps=200, start=DensityPosterior(target.space, start))
    # the fixed point of the score-based divergence is not that of the ELBO: the bound is one of agreement, 0.1 sd
    assert excess(outcome.posterior) < 5e-3 * DIMENSION


def test_logistic_regression_from_laplace_comes_near_the_best_gaussian(key):
    target = logistic_regression()
    laplace = drive(Laplace(), target, key=key).posterior
    outcome = drive(BatchMatch(), target, key=key, start=laplace)
    assert excess(outcome.posterior) < 5e-3 * DIMENSION
    assert excess(outcome.posterior) < 0.2 * excess(laplace)


def half_line(z):
    """A normal density on half of the plane, NaN on the other half: N(0, I) matches its score, but is not converged."""
    return jnp.where(z[0] > 0, -0.5 * z @ z, jnp.nan)


def test_drift_is_unbiased_and_blind_to_one_outlier(key):
    rows = 3.0 * jax.random.normal(key, (2000, 10, 4)) + jnp.array([2.0, 0.0, 0.0, 1.0])
    values = jax.vmap(lambda r: drift(r, jnp.full(10, 0.1)))(rows)
    assert abs(values.mean() - 5.0) < 5 * values.std() / np.sqrt(2000)
    outlier = jnp.zeros((10, 4)).at[3, 1].set(1e3)
    assert abs(drift(outlier, jnp.full(10, 0.1))) < 1e-6


def test_draws_outside_the_support_are_left_out(key):
    target = from_log_density(half_line, np.zeros(2))
    start = PointPosterior(target.space, jnp.array([0.5, 0.5]))
    outcome = drive(BatchMatch(), target, key=key, steps=100, start=start)
    assert outcome.run.stop is StopCode.STEPS
    assert np.all(np.isfinite(outcome.posterior.q.scale_tril))


def test_settings_are_checked():
    with pytest.raises(InputError, match="batch_size must be 2"):
        BatchMatch(batch_size=1)
    with pytest.raises(InputError, match="rate must be positive"):
        BatchMatch(rate=0.0)
    assert float(BatchMatch(rate=1.0).cautious().rate) == 0.5
