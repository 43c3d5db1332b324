"""Tempered SMC against exact evidence, moments and weights of modes; errors measured over independent runs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen._run import drive
from jensen.algorithms.smc import TemperedSMC, covariance_factor, effective_size, next_temperature, systematic
from jensen.core import DensityPosterior, StopCode, as_scalar
from jensen.families import Gaussian
from jensen.targets.synthetic import ManyWell, gaussian_target, two_modes

RUNS = 10


def runs(algorithm, target, **kwargs):
    return [drive(algorithm, target, key=jax.random.key(seed), **kwargs) for seed in range(RUNS)]


def within(values, truth):
    """Whether the mean over independent runs is within five standard errors of the truth."""
    values = np.asarray(values)
    return np.all(np.abs(values.mean(0) - truth) < 5 * values.std(0, ddof=1) / np.sqrt(len(values)))


def test_two_far_modes_have_their_weights_and_the_evidence():
    target = two_modes(2, separation=10.0, weight=0.3, log_evidence=-7.0)
    outcomes = runs(TemperedSMC(num_particles=500), target)
    share = [float(jnp.mean(o.posterior.pooled[:, 0] < 0)) for o in outcomes]
    assert within(share, 0.3)
    assert np.all((np.asarray(share) > 0.1) & (np.asarray(share) < 0.5))  # both modes, in every run
    ratio = [float(jnp.exp(o.state.log_evidence - target.log_evidence)) for o in outcomes]
    assert within(ratio, 1.0)
    assert np.std(ratio) < 0.5
    assert all(o.run.stop is StopCode.CONVERGED for o in outcomes)
    near = [jnp.abs(jnp.abs(o.posterior.pooled) - 5.0).mean() for o in outcomes]
    assert within([float(v) for v in near], np.sqrt(2 / np.pi))  # E |N(0, 1)|: each mode has its own spread


def test_a_correlated_gaussian_from_a_poor_fit():
    cov = jnp.array([[1.0, 0.9, 0.0], [0.9, 1.0, 0.0], [0.0, 0.0, 0.01]])
    target = gaussian_target([3.0, -2.0, 0.5], cov, log_evidence=4.0)
    start = DensityPosterior(
        target.space, Gaussian(jnp.array([2.0, -2.0, 0.4]), 0.8 * jnp.diag(jnp.array([1.0, 1.0, 0.1])))
    )
    outcomes = runs(TemperedSMC(num_particles=400), target, start=start)
    moments = [o.posterior.mean_and_cov() for o in outcomes]
    assert within([m for m, _ in moments], np.asarray(target.mean))
    assert within([c for _, c in moments], np.asarray(cov))
    assert within([float(jnp.exp(o.state.log_evidence - 4.0)) for o in outcomes], 1.0)


def test_many_wells_evidence():
    target = ManyWell(4)
    outcomes = runs(TemperedSMC(num_particles=500, reference_scale=2.0), target)
    assert within([float(jnp.exp(o.state.log_evidence - target.log_evidence)) for o in outcomes], 1.0)
    mean = target.mean_and_cov()[0]
    assert within([o.posterior.pooled.mean(0) for o in outcomes], np.asarray(mean))


def test_temperatures_rise_at_the_effective_size_asked_for():
    outcome = drive(TemperedSMC(num_particles=300, effective_share=0.6), two_modes(), key=jax.random.key(0))
    scalars = outcome.run.history.scalars
    assert np.all(np.diff(scalars["temperature"]) > 0)
    assert scalars["temperature"][-1] == 1.0
    np.testing.assert_allclose(scalars["effective_size"][:-1], 180.0, rtol=1e-6)
    assert scalars["effective_size"][-1] >= 180.0
    assert np.all(scalars["acceptance"] > 0.3)


def test_points_without_density_carry_no_weight():
    ratio = jnp.array([-jnp.inf, 0.0, 1.0, 2.0])
    t = next_temperature(ratio, as_scalar(0.0), as_scalar(0.5))
    assert 0 < float(t) <= 1
    assert float(effective_size(jnp.full(3, -jnp.inf))) == 0.0


@pytest.mark.parametrize("seed", range(5))
def test_systematic_resampling_counts(seed):
    weights = np.random.default_rng(seed).dirichlet(np.ones(50))
    counts = np.bincount(np.asarray(systematic(jax.random.key(seed), jnp.log(weights))), minlength=50)
    assert np.all((counts >= np.floor(50 * weights)) & (counts <= np.ceil(50 * weights)))


def test_covariance_factor_of_fewer_points_than_dimensions():
    factor = covariance_factor(jax.random.normal(jax.random.key(0), (5, 20)))
    assert np.all(np.isfinite(factor))
    assert np.all(np.diagonal(factor) > 0)
