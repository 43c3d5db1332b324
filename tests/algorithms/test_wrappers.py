import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen._run import drive
from jensen.algorithms import Averaged, BestSoFar, GradientVI, Laplace, Restarts, Then
from jensen.core import DensityPosterior, DrawsPosterior, InputError, StopCode
from jensen.families import Gaussian, MeanField, kl_gaussian
from jensen.gradient_estimators import Reparameterisation
from jensen.objectives import NegativeElbo
from jensen.targets import from_log_density

P = Gaussian(jnp.array([1.0, -0.5]), jnp.array([[1.0, 0.0], [0.6, 0.8]]))
TARGET = from_log_density(lambda z, p: p.log_prob(z), jnp.zeros(2), P)
NOISY = GradientVI(MeanField(), NegativeElbo(Reparameterisation(num_draws=2)), cooling=0.0, learning_rate=0.05)


def fit(algorithm, key, target=TARGET, steps=600):
    return drive(algorithm, target, key=key, steps=steps)


def test_the_average_is_closer_than_the_last_iterate():
    def error(algorithm):
        fits = [fit(algorithm, jax.random.key(s), steps=2000).posterior.q for s in range(5)]
        return np.mean([float(jnp.sum((q.mean - P.mean) ** 2)) for q in fits])

    assert error(Averaged(NOISY)) < 0.5 * error(NOISY)


def test_the_average_of_a_still_algorithm_is_its_state():
    q = fit(Averaged(Laplace()), jax.random.key(0), steps=50).posterior.q
    assert kl_gaussian(q, P) < 1e-10


def test_best_so_far_keeps_the_best_of_a_run_that_gets_worse():
    # the rate climbs from good to absurd
    algorithm = GradientVI(MeanField(), learning_rate=3.0, warmup=600.0, cooling=0.0)
    outcome = fit(BestSoFar(algorithm), jax.random.key(0), steps=600)
    objective = NegativeElbo(Reparameterisation(4000))
    kept = objective.loss(jax.random.key(1), outcome.posterior.q, TARGET).value
    last = objective.loss(jax.random.key(1), outcome.state.inner.q, TARGET).value
    medians = [np.median(outcome.run.history.objective[i : i + 50]) for i in range(0, 600, 50)]
    assert kept < last
    assert kept < np.median(medians)


def test_restarts_find_the_heavier_mode(key):
    # modes at -4 and 4 of weights 0.9 and 0.1
    def log_density(z):
        return jnp.logaddexp(jnp.log(0.9) - 0.5 * jnp.sum((z + 4) ** 2), jnp.log(0.1) - 0.5 * jnp.sum((z - 4) ** 2))

    target = from_log_density(log_density, jnp.zeros(1))
    outcome = fit(Restarts(GradientVI(MeanField(), learning_rate=0.05), 8), key, target, steps=600)
    assert abs(outcome.posterior.mean_and_cov()[0][0] + 4) < 0.2
    # all eight in one half happens once in 128; else the spread is the log ratio of the weights
    spread = outcome.run.history.scalars["spread"][-1]
    assert spread < 0.2 or abs(spread - np.log(9)) < 0.3


def test_restarts_stop_when_all_have(key):
    outcome = fit(Restarts(Laplace(num_starts=1), 3), key, steps=100)
    assert outcome.run.stop is StopCode.CONVERGED
    assert kl_gaussian(outcome.posterior.q, P) < 1e-10


def test_then_goes_on_from_the_first():
    algorithm = Then(Laplace(), GradientVI(MeanField(), learning_rate=0.01), at=0.5)
    outcome = fit(algorithm, jax.random.key(0), steps=200)
    began = int(outcome.state.began)
    assert 1 <= began < 20  # Newton on a quadratic ends at once, and the second begins at the next step
    history = outcome.run.history
    assert np.all(np.isnan(history.scalars["gradient_norm"][:began]))
    assert np.all(np.isfinite(history.scalars["gradient_norm"][began:]))
    start = jnp.diagonal(P.cov)
    assert isinstance(outcome.posterior, DensityPosterior)
    assert jnp.all(outcome.posterior.mean_and_cov()[1].diagonal() < start)  # mean field narrows


def test_then_changes_at_its_share_of_the_run():
    outcome = fit(Then(NOISY, GradientVI(MeanField()), at=0.25), jax.random.key(0), steps=200)
    assert int(outcome.state.began) == 50
    assert outcome.run.stop is StopCode.STEPS


class _Draws(GradientVI):
    gives = DrawsPosterior


def test_errors():
    with pytest.raises(InputError, match="num"):
        Restarts(Laplace(), 0)
    with pytest.raises(InputError, match="chains"):
        Restarts(_Draws(), 2)
    with pytest.raises(InputError, match="at must"):
        Then(Laplace(), NOISY, at=1.5)


def test_settings_pass_through():
    assert not Averaged(NOISY).exact
    assert Then(Laplace(), NOISY).exact
    assert Averaged(NOISY).cautious().algorithm.learning_rate == 0.025
    assert BestSoFar(Laplace()).gives is DensityPosterior
