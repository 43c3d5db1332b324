import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen._run import drive
from jensen.algorithms import GradientVI
from jensen.core import Clock, DensityPosterior, InputError, StopCode
from jensen.families import (
    Affine,
    Coupling,
    FlowBuilder,
    FullRank,
    Gaussian,
    LowRank,
    MeanField,
    gaussian_from_cov,
    kl_gaussian,
)
from jensen.gradient_estimators import Reparameterisation
from jensen.objectives import ImportanceWeighted, NegativeElbo
from jensen.targets import from_log_density, from_rows
from jensen.targets.wrappers import Minibatched

P = Gaussian(jnp.array([1.0, -0.5, 0.3]), jnp.array([[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [-0.3, 0.4, 0.7]]))
TARGET = from_log_density(lambda z, p: p.log_prob(z), jnp.zeros(3), P)


def fit(algorithm, key=None, target=TARGET, steps=1500, **more):
    return drive(algorithm, target, key=jax.random.key(0) if key is None else key, steps=steps, **more)


def test_full_rank_lands_on_a_gaussian_exactly(key):
    # sticking the landing has no noise at the optimum, so that no Monte Carlo error is left
    q = fit(GradientVI(FullRank()), key).posterior.q
    assert kl_gaussian(q, P) < 1e-6


def test_mean_field_finds_the_best_factorised_gaussian():
    q = fit(GradientVI(MeanField()), steps=3000).posterior.q
    precision = jnp.diagonal(jnp.linalg.inv(P.cov))
    best = Gaussian(P.mean, jnp.diag(precision**-0.5))
    mine = Gaussian(q.mean, jnp.diag(jnp.exp(q.log_scale)))
    # the noise of the gradient leaves a little: a mean off by 0.15 sd in one coordinate would cost this much
    assert kl_gaussian(mine, P) - kl_gaussian(best, P) < 0.01


def test_low_rank_and_other_objectives_reach_the_divergence_of_the_family():
    low = fit(GradientVI(LowRank(2)), steps=3000).posterior
    assert kl_gaussian(gaussian_from_cov(*low.q.mean_and_cov()), P) < 0.01  # 3 + 6 numbers say any 3 x 3 covariance
    iw = fit(GradientVI(FullRank(), ImportanceWeighted(4, Reparameterisation(num_draws=8))), steps=3000).posterior
    assert kl_gaussian(iw.q, P) < 0.02  # a mean off by 0.2 sd


def test_schedule():
    a = GradientVI(learning_rate=0.1, warmup=10.0, cooling=0.5)
    rate = lambda t: float(a.rate(Clock(jnp.asarray(t), jnp.asarray(1000))))  # noqa: E731
    assert np.isclose(rate(0), 0.01)
    assert np.isclose(rate(4), 0.05)
    assert np.isclose(rate(300), 0.1)
    assert np.isclose(rate(750), 0.05)
    assert rate(999) < 1e-4
    assert np.isclose(float(a.cautious().rate(Clock(jnp.asarray(300), jnp.asarray(1000)))), 0.05)
    assert a.cooldown == 0.5


def test_warm_start_from_a_gaussian_begins_there():
    start = DensityPosterior(TARGET.space, P)
    outcome = fit(GradientVI(FullRank()), steps=1, start=start)
    assert abs(outcome.run.history.objective[0]) < 1e-10  # -ELBO = KL(P || P) = 0 and no noise


def test_a_family_given_as_such_must_fit():
    with pytest.raises(InputError, match="dimension 2"):
        fit(GradientVI(Gaussian(jnp.zeros(2), jnp.eye(2))), steps=1)


def test_a_flow_run_with_an_absurd_rate_says_so_and_keeps_the_best():
    # the rate climbs from good to absurd
    builder = FlowBuilder(Coupling(Affine(), width=8, depth=1), num_layers=2)
    algorithm = GradientVI(builder, learning_rate=20.0, warmup=2000.0, cooling=0.0)
    start = DensityPosterior(TARGET.space, Gaussian(P.mean + 1.0, 2 * P.scale_tril))
    outcome = fit(algorithm, steps=1000, start=start)
    assert any("smaller steps" in note or "stopped" in note for note in outcome.run.notes)
    history = outcome.run.history.objective
    first = np.median(history[:100])
    assert np.max(history) > first + 10  # it did diverge
    now = NegativeElbo(Reparameterisation(2000)).loss(jax.random.key(9), outcome.posterior.q, TARGET)
    assert now.value < first + 10


def test_nan_on_the_way_is_a_code():
    broken = from_log_density(lambda z: jnp.where(jnp.sum(z**2) < 0.5, jnp.nan, -0.5 * jnp.sum(z**2)), jnp.zeros(1))
    outcome = fit(GradientVI(FullRank(), scale=1.0), target=broken, steps=500)
    assert outcome.run.stop is StopCode.NON_FINITE
    assert jnp.all(jnp.isfinite(outcome.posterior.q.mean))


def test_minibatches_reach_the_conjugate_posterior(key):
    # y_i ~ N(mu, 1), mu ~ N(0, 1): posterior N(sum y / (n + 1), 1 / (n + 1))
    y = 0.7 + jax.random.normal(jax.random.key(3), (200,))
    target = from_rows(lambda mu: -0.5 * mu**2, lambda mu, y: -0.5 * (y - mu) ** 2, y, jnp.zeros(()))
    outcome = fit(GradientVI(MeanField()), key, Minibatched(target, 20), steps=4000)
    mean, cov = outcome.posterior.mean_and_cov()
    sd = 1 / jnp.sqrt(201.0)
    # the noise of Adam at a cooled rate: a fraction of the posterior's own spread
    assert abs(mean[0] - jnp.sum(y) / 201) < 0.5 * sd
    assert abs(jnp.sqrt(cov[0, 0]) / sd - 1) < 0.1
