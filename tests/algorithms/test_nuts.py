"""The no-U-turn sampler: its kernel leaves the target invariant at any step size, its runs have the exact moments."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen._run import drive
from jensen.algorithms._trajectory import Place, begin, end, turn
from jensen.algorithms.nuts import NUTS, Dense, Diagonal
from jensen.certificate.chains import diagnose
from jensen.core import DensityPosterior, PointPosterior
from jensen.families import Gaussian
from jensen.targets.synthetic import Banana, Funnel, gaussian_target, random_gaussian

SEEDS = range(5)


@eqx.filter_jit
def one_transition(key, target, z, step_size, scale, max_doublings):
    value, gradient = jax.vmap(jax.value_and_grad(target.log_density))(z)
    first = begin(key, Place(z, value, gradient), max_doublings)

    def more(trajectories):
        return turn(trajectories, target.log_density, step_size, scale, max_doublings, False)

    return end(jax.lax.while_loop(lambda t: t.going, more, first))


CASES = {
    "banana, unit mass": (lambda: Banana(3, 0.3, 1.0), 0.7, jnp.ones(3), 6),
    "banana, dense mass, short": (
        lambda: Banana(3, 0.3, 1.0),
        0.5,
        jnp.array([[1.0, 0, 0], [0.4, 0.7, 0], [0, 0.2, 1.5]]),
        2,
    ),
    "gaussian, coarse": (
        lambda: gaussian_target([1.0, -1.0], [[1.0, 0.8], [0.8, 1.0]]),
        0.5,
        jnp.array([0.5, 2.0]),
        10,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_transition_leaves_the_target_invariant(name):
    """From exact draws to exact draws: moments of 20,000 chains after one transition, whatever its energy errors."""
    make, step_size, scale, doublings = CASES[name]
    target = make()
    for seed in SEEDS:
        key_draw, key_step = jax.random.split(jax.random.key(seed))
        before = target.exact_draws(key_draw, 20_000)
        after = one_transition(key_step, target, before, jnp.asarray(step_size), scale, doublings)
        z = np.asarray(after.place.position)
        mean, cov = (np.asarray(a) for a in target.mean_and_cov())
        features = np.concatenate(
            [z - mean, (z - mean) ** 2 - np.diag(cov), (z - mean)[:, :1] * (z - mean)[:, 1:] - cov[0, 1:]], 1
        )
        error = features.std(0, ddof=1) / np.sqrt(len(features))
        assert np.all(np.abs(features.mean(0)) < 5 * error)
        np.testing.assert_allclose(
            after.place.log_density, jax.vmap(target.log_density)(after.place.position), rtol=1e-9
        )
        # the step is coarse enough for an unweighted choice of leaf to be seen, and the chains do move
        assert float(jnp.mean(after.acceptance)) < 0.97
        assert np.mean(np.any(z != np.asarray(before), axis=1)) > 0.5
        assert int(jnp.max(after.leapfrog_steps)) <= 2**doublings


def test_trajectories_stop_at_the_u_turn():
    """A unit Gaussian in 1-d has period 2 pi: a trajectory of step 0.1 must turn near half of it, about 31 steps."""
    target = gaussian_target([0.0], [[1.0]])
    z = target.exact_draws(jax.random.key(0), 500)
    steps = np.asarray(one_transition(jax.random.key(1), target, z, jnp.asarray(0.1), jnp.ones(1), 10).leapfrog_steps)
    assert np.all(steps < 128)
    assert np.median(steps) >= 15


def test_a_step_far_too_long_diverges_and_stays():
    target = gaussian_target([0.0, 0.0], [[1.0, 0.0], [0.0, 1e-8]])
    z = target.exact_draws(jax.random.key(0), 50)
    after = one_transition(jax.random.key(1), target, z, jnp.asarray(3.0), jnp.ones(2), 10)
    assert np.all(np.asarray(after.diverging))
    np.testing.assert_array_equal(after.place.position, z)


def moments_in_error(posterior, mean, variance):
    """Largest z-scores of means and variances, by the effective sample sizes of the draws and of their squares."""
    chains = posterior.chains
    square = (chains - mean) ** 2
    _, ess, _ = diagnose(chains)
    _, ess_square, _ = diagnose(square)
    error = jnp.sqrt(variance / ess)
    error_square = jnp.std(square, axis=(0, 1)) / jnp.sqrt(ess_square)
    worst = jnp.max(jnp.abs(jnp.mean(chains, (0, 1)) - mean) / error)
    return float(worst), float(jnp.max(jnp.abs(jnp.mean(square, (0, 1)) - variance) / error_square))


ALGORITHMS = {
    "cold": lambda q: NUTS(),
    "dense": lambda q: NUTS(chains=8, metric=Dense()),
    "transport": lambda q: NUTS(chains=8, warmup=0.3, transport=q),
}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_runs_recover_a_correlated_gaussian(name):
    target = random_gaussian(jax.random.key(1), 5, 100.0)
    mean, cov = target.mean_and_cov()
    wrong = Gaussian(mean + 0.3, 1.5 * target.scale_tril)  # close is enough for a transport
    for seed in SEEDS:
        outcome = drive(ALGORITHMS[name](wrong), target, key=jax.random.key(seed), steps=800)
        mean_error, variance_error = moments_in_error(outcome.posterior, mean, jnp.diagonal(cov))
        assert mean_error < 5
        assert variance_error < 5
        scalars = outcome.run.history.scalars
        assert 0.7 < scalars["acceptance"][-200:].mean() < 0.97
        assert np.all(scalars["step_size"][-100:] == scalars["step_size"][-1])


def test_a_mild_funnel_has_its_exact_tails():
    target = Funnel(5, 1.0)
    for seed in SEEDS:
        posterior = drive(NUTS(chains=8), target, key=jax.random.key(seed), steps=1000).posterior
        below = (posterior.chains[:, :, :1] < -1.0).astype(float)
        _, ess, _ = diagnose(posterior.chains[:, :, :1])
        truth = 0.15865525393145707  # P(v < -1), v ~ N(0, 1)
        assert abs(float(below.mean()) - truth) < 5 * np.sqrt(truth * (1 - truth) / float(ess[0]))


def test_warm_up_is_dropped_and_shapes_are_as_said():
    target = gaussian_target([0.0, 1.0], [[1.0, 0.0], [0.0, 1.0]])
    outcome = drive(NUTS(chains=3, warmup=0.25), target, key=jax.random.key(0), steps=40)
    assert outcome.posterior.chains.shape == (3, 30, 2)
    assert outcome.posterior.diverging.shape == (3, 30)
    assert outcome.posterior.sample(jax.random.key(1), 7)["z"].shape == (7, 2)


def test_transport_draws_are_in_the_targets_coordinates():
    target = gaussian_target([50.0, -20.0], [[1.0, 0.0], [0.0, 4.0]])
    posterior = drive(NUTS(transport=Gaussian(*_moments(target))), target, key=jax.random.key(0), steps=200).posterior
    np.testing.assert_allclose(posterior.pooled.mean(0), [50.0, -20.0], atol=1.0)


def _moments(target):
    return target.mean, target.scale_tril


def test_starts_avoid_points_without_density():
    """Half of the plane has no density: every chain begins in the other half."""
    base = gaussian_target([0.5, 0.0], [[1.0, 0.0], [0.0, 1.0]])

    class Half(type(base)):
        def log_density(self, z):
            return jnp.where(z[0] > 0, super().log_density(z), -jnp.inf)

    half = Half(base.mean, base.scale_tril)
    start = DensityPosterior(half.space, Gaussian(base.mean, base.scale_tril))
    for first in (start, PointPosterior(half.space, jnp.array([1.0, 0.0]))):
        state = NUTS(chains=32).init(jax.random.key(0), half, first)
        assert np.all(np.asarray(state.place.position[:, 0]) > 0)


def test_a_gaussian_start_gives_the_first_metric():
    q = Gaussian(jnp.zeros(2), jnp.array([[2.0, 0.0], [1.0, 3.0]]))
    target = gaussian_target([0.0, 0.0], [[1.0, 0.0], [0.0, 1.0]])
    start = DensityPosterior(target.space, q)
    dense = NUTS(metric=Dense()).init(jax.random.key(0), target, start)
    diagonal = NUTS(metric=Diagonal()).init(jax.random.key(0), target, start)
    np.testing.assert_allclose(dense.scale, q.scale_tril, rtol=1e-12)
    np.testing.assert_allclose(diagonal.scale, np.sqrt([4.0, 10.0]), rtol=1e-12)


def test_cautious_raises_the_acceptance():
    assert float(NUTS().cautious().target_acceptance) == pytest.approx(0.9)
