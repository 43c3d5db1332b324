"""Objectives that weigh likelihood against prior, or gains against both, on conjugate models."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jensen as jn
from jensen.families import DiagonalGaussian, Gaussian, LowRankGaussian, kl_gaussian
from jensen.gradient_estimators import Reparameterisation
from jensen.objectives import DataEmphasisedElbo, LossCalibrated, TemperedElbo, bayes_action
from jensen.targets import Minibatched, from_rows

Y = np.random.default_rng(0).normal(1.5, 1.0, 40)
PRIOR = Gaussian(jnp.zeros(1), jnp.eye(1))
TARGET = from_rows(
    lambda z: -0.5 * jnp.sum(z**2) - 0.5 * jnp.log(2 * jnp.pi), lambda z, y: -0.5 * (y - z[0]) ** 2, Y, jnp.zeros(1)
)
Q = Gaussian(jnp.array([0.9]), jnp.array([[0.3]]))


def likelihood(q):
    """E_q[sum_i -1/2 (y_i - z)^2]."""
    return -0.5 * jnp.sum((Y - q.mean[0]) ** 2) - 0.5 * len(Y) * q.cov[0, 0]


@pytest.mark.parametrize("k", [0.3, 1.0, 2.5])
def test_tempered_elbo(k):
    got = TemperedElbo(k, Reparameterisation(20_000)).loss(jax.random.key(0), Q, TARGET)
    truth = kl_gaussian(Q, PRIOR) - k * likelihood(Q)
    assert abs(got.value - truth) < 5 * got.standard_error
    assert 5 * got.standard_error < 0.05 * abs(truth)


def test_tempered_elbo_is_least_at_the_tempered_posterior_also_by_minibatches():
    k = 0.4
    mean, sd = k * Y.sum() / (1 + k * len(Y)), (1 + k * len(Y)) ** -0.5
    for target, tolerance in ((TARGET, 1e-3), (Minibatched(TARGET, 20), 0.05)):
        algorithm = jn.algorithms.GradientVI(objective=TemperedElbo(k))
        fit = jn.run(algorithm, target, key=jax.random.key(1), steps=2000, certify=False, progress=False)
        q = fit.posterior.q
        assert abs(q.mean[0] - mean) < tolerance * sd + 0.1 * tolerance
        assert abs(q.scale_tril[0, 0] - sd) < tolerance * sd + 0.1 * tolerance


FAMILIES = [
    DiagonalGaussian(jnp.array([0.3, -1.0, 2.0]), jnp.array([-1.0, 0.2, 0.0])),
    Gaussian(jnp.array([0.3, -1.0, 2.0]), jnp.array([[1.0, 0, 0], [0.4, 0.5, 0], [-0.2, 0.1, 0.7]])),
    LowRankGaussian(jnp.array([0.3, -1.0, 2.0]), jnp.array([-1.0, 0.2, 0.0]), jnp.array([[0.5], [0.1], [-0.4]])),
]


@pytest.mark.parametrize("q", FAMILIES, ids=lambda q: type(q).__name__)
@pytest.mark.parametrize("blocks", [(), (1, 2)])
def test_the_prior_variance_is_the_best_and_the_divergence_that_at_it(q, blocks):
    centre = jnp.array([0.5, 0.0, 1.0])
    objective = DataEmphasisedElbo(centre=centre, blocks=blocks)
    sizes = np.array(blocks or (3,))

    def divergence(log_variance):
        variance = jnp.repeat(jnp.exp(log_variance), sizes, total_repeat_length=3)
        mean, cov = q.mean_and_cov()
        return kl_gaussian(Gaussian(mean, jnp.linalg.cholesky(cov)), Gaussian(centre, jnp.diag(jnp.sqrt(variance))))

    best = jnp.log(objective.prior_variance(q))
    np.testing.assert_allclose(jax.grad(divergence)(best), 0, atol=1e-10)
    np.testing.assert_allclose(objective.divergence(q), divergence(best), rtol=1e-12)


def test_data_emphasis_is_dimension_over_rows_where_none_is_given():
    key, q = jax.random.key(0), DiagonalGaussian(jnp.array([0.9]), jnp.array([-1.0]))
    default, given = (
        DataEmphasisedElbo(k, estimator=Reparameterisation(4)).loss(key, q, TARGET) for k in (None, 1 / 40)
    )
    np.testing.assert_allclose(default.value, given.value, rtol=1e-12)
    exact = DataEmphasisedElbo(0.5, estimator=Reparameterisation(20_000)).loss(key, q, TARGET)
    v = 0.9**2 + jnp.exp(-2.0)
    truth = 0.5 * jnp.log(v) + 1.0 - 0.5 * likelihood(Gaussian(q.mean, jnp.exp(q.log_scale)[None]))
    assert abs(exact.value - truth) < 5 * exact.standard_error
    assert DataEmphasisedElbo.bound is TemperedElbo.bound is LossCalibrated.bound is None


def test_loss_calibration_moves_q_to_the_posterior_times_the_gain():
    """log G(z) = a z: the best q is the posterior with its mean moved by a times its variance."""
    objective = LossCalibrated(lambda z, a: a * z[0], (jnp.asarray(3.0),))
    fit = jn.run(
        jn.algorithms.GradientVI(objective=objective),
        TARGET,
        key=jax.random.key(1),
        steps=2000,
        certify=False,
        progress=False,
    )
    variance = 1 / (1 + len(Y))
    np.testing.assert_allclose(fit.posterior.q.mean[0], variance * (Y.sum() + 3.0), atol=1e-4)
    np.testing.assert_allclose(fit.posterior.q.cov[0, 0], variance, atol=1e-4)


def test_bayes_action_is_that_found_by_enumeration():
    rng = np.random.default_rng(0)
    p, u = rng.dirichlet(np.ones(5), 100), rng.normal(size=(5, 4))
    best = [max(range(4), key=lambda a, row=row: sum(row[y] * u[y, a] for y in range(5))) for row in p]
    assert bayes_action(jnp.asarray(p), jnp.asarray(u)).tolist() == best
