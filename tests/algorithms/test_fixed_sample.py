import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.algorithms.gaussian_optimum import DIMENSION, excess, least_objective, logistic_regression, objective

from jensen._run import drive
from jensen.algorithms import FixedSampleVI, Laplace
from jensen.algorithms.fixed_sample import placed, standardised
from jensen.core import InputError, StopCode
from jensen.families import DiagonalGaussian, FullRank, Gaussian, LowRank, MeanField


def test_standardised_noise_has_mean_zero_and_unit_covariance(key):
    noise = standardised(jax.random.normal(key, (20, 4)))
    np.testing.assert_allclose(noise.mean(0), 0, atol=1e-14)
    np.testing.assert_allclose(noise.T @ noise / 20, jnp.eye(4), atol=1e-12)
    few = standardised(jax.random.normal(key, (3, 4)))
    np.testing.assert_allclose(jnp.mean(few**2, 0), 1, atol=1e-12)


def test_placed_is_the_pushforward():
    frame = Gaussian(jnp.array([1.0, 2.0]), jnp.array([[2.0, 0.0], [0.5, 3.0]]))
    inner = Gaussian(jnp.array([0.1, -0.2]), jnp.array([[0.5, 0.0], [0.3, 0.4]]))
    eps = jnp.array([0.7, -1.3])
    np.testing.assert_allclose(placed(frame, inner).from_noise(eps), frame.from_noise(inner.from_noise(eps)))
    straight = Gaussian(frame.mean, jnp.diag(jnp.array([2.0, 3.0])))
    flat = DiagonalGaussian(inner.mean, jnp.array([0.2, -0.4]))
    np.testing.assert_allclose(placed(straight, flat).from_noise(eps), straight.from_noise(flat.from_noise(eps)))


def test_logistic_regression_reaches_the_best_gaussian(key):
    algorithm = FixedSampleVI(family=FullRank(), num_draws=2048)
    outcome = drive(algorithm, logistic_regression(), key=key)
    assert outcome.run.stop is StopCode.CONVERGED
    assert len(outcome.run.history) < 60
    assert -1e-8 < excess(outcome.posterior) < 1e-3  # nats: a shift of a mean by 0.045 sd


def test_logistic_regression_reaches_the_best_factorised_gaussian(key):
    laplace = drive(Laplace(), logistic_regression(), key=key).posterior
    outcome = drive(FixedSampleVI(num_draws=2048), logistic_regression(), key=key, start=laplace)
    q = outcome.posterior.q
    above = objective(q.mean, jnp.diag(jnp.exp(q.log_scale))) - least_objective(full_rank=False)
    assert outcome.run.stop is StopCode.CONVERGED
    assert -1e-8 < above < 1e-3


def test_what_cannot_work_is_refused():
    with pytest.raises(InputError, match="MeanField"):
        FixedSampleVI(family=LowRank())
    with pytest.raises(InputError, match="more draws than dimensions"):
        drive(FixedSampleVI(family=FullRank(), num_draws=DIMENSION), logistic_regression(), key=jax.random.key(0))
    assert isinstance(FixedSampleVI().family, MeanField)
