import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize
from tests.algorithms.gaussian_optimum import data, excess, log_density, logistic_regression

from jensen._numerics.lbfgs import (
    advance,
    begin_again,
    decrement,
    inverse_hessian,
    inverse_hessian_product,
    start_descent,
    trial,
)
from jensen._run import drive
from jensen.algorithms import Mode, MultiPathfinder, Pathfinder
from jensen.core import InputError, StopCode
from jensen.targets import from_log_density


def rosenbrock(z):
    return jnp.sum(100 * (z[1:] - z[:-1] ** 2) ** 2 + (1 - z[:-1]) ** 2)


def descend(fn, z, steps, memory=6, descent=None):
    move = jax.jit(lambda d: advance(d, *jax.value_and_grad(fn)(trial(d)))[0])
    descent, values = start_descent(z, memory) if descent is None else descent, []
    for _ in range(steps):
        descent = move(descent)
        values.append(float(descent.value))
    return descent, values


def test_descent_never_rises_and_finds_the_minimum_of_rosenbrock():
    descent, values = descend(rosenbrock, jnp.array([-1.2, 1.0, -1.2, 1.0]), 200)
    assert np.all(np.diff(values) <= 1e-12)
    np.testing.assert_allclose(descent.z, 1.0, atol=1e-6)
    assert decrement(descent) < 1e-6


def test_inverse_hessian_is_positive_meets_the_last_secant_and_agrees_with_the_recursion():
    descent, _ = descend(rosenbrock, jnp.array([-1.2, 1.0, -1.2, 1.0]), 12)
    h = inverse_hessian(descent)
    assert jnp.all(jnp.linalg.eigvalsh(h) > 0)
    np.testing.assert_allclose(h @ descent.changes[-1], descent.steps[-1], rtol=1e-9)
    vector = jnp.array([0.3, -1.0, 2.0, 0.7])
    parts = (descent.steps, descent.changes, descent.weights, descent.diagonal)
    np.testing.assert_allclose(inverse_hessian_product(*parts, vector), h @ vector, rtol=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_a_descent_of_another_function_keeps_its_pairs_and_needs_fewer_steps_for_them(seed):
    rng = np.random.default_rng(seed)
    half = jnp.asarray(rng.standard_normal((12, 12)))
    curvature = half @ jnp.diag(jnp.logspace(0, 4, 12)) @ half.T
    there = jnp.asarray(rng.standard_normal(12))
    first, _ = descend(lambda z: 0.3 * z @ curvature @ z, jnp.ones(12), 150, memory=30)
    again = begin_again(first)
    np.testing.assert_array_equal(trial(again), first.z)
    np.testing.assert_array_equal(again.steps, first.steps)

    def other(z):
        return 0.32 * (z - there) @ curvature @ (z - there)

    kept, values = descend(other, None, 1, descent=again)
    np.testing.assert_array_equal(kept.z, first.z)  # the first trial says what the other function is there
    assert values[0] == pytest.approx(float(other(first.z)))
    with_pairs = descend(other, None, 60, descent=again)[1]
    without = descend(other, first.z, 60, memory=30)[1]
    small = 1e-3 * values[0]
    assert with_pairs[-1] < small
    needed, fresh = (int(np.sum(np.array(v) >= small)) for v in (with_pairs, without))
    assert 2 * needed < fresh

    def steeper(z):
        return 30 * other(z)

    scaled, unscaled = (
        descend(steeper, None, 60, descent=begin_again(first, times))[1] for times in (30 * 0.32 / 0.3, 1.0)
    )
    assert np.sum(np.array(scaled) >= 30 * small) < np.sum(np.array(unscaled) >= 30 * small)


def test_descent_survives_walls_of_nan():
    descent, _ = descend(
        lambda z: jnp.where(z[0] > 0, jnp.sum((z - 0.01) ** 2) * 50, jnp.nan), jnp.array([3.0, 2.0]), 60
    )
    np.testing.assert_allclose(descent.z, 0.01, atol=1e-6)


def test_mode_of_logistic_regression_is_that_of_another_optimiser(key):
    x, y = data()
    fn = jax.jit(jax.value_and_grad(lambda z: -log_density(z, x, y)))
    truth = minimize(lambda z: jax.tree.map(np.asarray, fn(z)), np.zeros(3), jac=True, options={"gtol": 1e-10}).x
    outcome = drive(Mode(), logistic_regression(), key=key)
    assert outcome.run.stop is StopCode.CONVERGED
    np.testing.assert_allclose(outcome.posterior.z, truth, atol=1e-5)
    assert outcome.posterior.others.shape == (3, 3)


def two_hills(z):
    return jnp.logaddexp(-0.5 * jnp.sum((z - 5) ** 2), jnp.log(0.3) - 0.5 * jnp.sum((z + 5) ** 2))


def test_mode_takes_the_highest_of_its_climbs():
    target = from_log_density(two_hills, np.zeros(2))
    outcome = drive(Mode(num_starts=8), target, key=jax.random.key(1))
    np.testing.assert_allclose(outcome.posterior.z, 5.0, atol=1e-4)
    assert np.any(np.asarray(outcome.posterior.others) < 0)


def test_pathfinder_comes_near_the_best_gaussian(key):
    outcome = drive(Pathfinder(), logistic_regression(), key=key)
    assert outcome.run.stop is StopCode.CONVERGED
    assert excess(outcome.posterior) < 1


def test_multi_pathfinder_weights_recover_the_moments(key):
    """Self-normalised weights of draws: the mean of a Gaussian within five standard errors."""
    target = from_log_density(correlated, np.zeros(2))
    posterior = drive(MultiPathfinder(num_draws=500), target, key=key).posterior
    weights = np.exp(posterior.log_weights)
    np.testing.assert_allclose(weights.sum(), 1, rtol=1e-6)
    mean, _ = posterior.mean_and_cov()
    error = np.sqrt(np.sum(weights[:, None] ** 2 * (np.asarray(posterior.z) - np.asarray(mean)) ** 2, axis=0))
    assert np.all(np.abs(mean - 1.0) < 5 * error)
    assert np.all(5 * error < 0.5)


def correlated(z):
    return -0.5 * (z - 1) @ jnp.array([[2.0, 0.9], [0.9, 1.0]]) @ (z - 1)


def test_sizes_are_checked():
    for make in (lambda: Mode(num_starts=0), lambda: Pathfinder(num_draws=1), lambda: MultiPathfinder(memory=0)):
        with pytest.raises(InputError):
            make()
