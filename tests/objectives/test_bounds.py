import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen.core import InputError
from jensen.families import DiagonalGaussian
from jensen.gradient_estimators import Reparameterisation, StickingTheLanding
from jensen.objectives import ImportanceWeighted, NegativeElbo
from jensen.targets import from_log_density

LOG_Z = 0.7
TARGET = from_log_density(lambda z: LOG_Z - 0.5 * jnp.sum(z**2) - 0.5 * jnp.log(2 * jnp.pi), jnp.zeros(1))


def q_of(mean, log_scale):
    return DiagonalGaussian(jnp.array([mean]), jnp.array([log_scale]))


def exact_bound(mean, log_scale):
    """-E[log (w_1 + w_2) / 2] for q = N(mean, s^2) by Gauss-Hermite quadrature in two dimensions."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = jnp.asarray(weights / weights.sum())
    z = mean + jnp.exp(log_scale) * jnp.asarray(nodes)
    log_w = LOG_Z - 0.5 * z**2 + 0.5 * ((z - mean) / jnp.exp(log_scale)) ** 2 + log_scale
    pairs = jnp.logaddexp(log_w[:, None], log_w[None, :]) - jnp.log(2)
    return -weights @ pairs @ weights


def test_importance_weighted_value_and_gradient(key):
    objective = ImportanceWeighted(2, Reparameterisation(num_draws=1))

    def once(key):
        def loss(at):
            estimate = objective.loss(key, q_of(*at), TARGET)
            return estimate.surrogate, estimate.value

        return jax.value_and_grad(loss, has_aux=True)(jnp.array([0.5, 0.3]))

    (_, values), gradients = jax.vmap(once)(jax.random.split(key, 20_000))
    truth = jax.value_and_grad(lambda at: exact_bound(at[0], at[1]))(jnp.array([0.5, 0.3]))
    for draws, exact in ((values[:, None], truth[0][None]), (gradients, truth[1])):
        error = jnp.std(draws, 0) / jnp.sqrt(len(draws))
        assert jnp.all(jnp.abs(jnp.mean(draws, 0) - exact) < 5 * error)
        assert jnp.all(5 * error < 0.3 * jnp.max(jnp.abs(exact)))


def test_bounds_are_ordered_and_below_the_evidence(key):
    q = q_of(0.8, 0.4)
    elbo = NegativeElbo(Reparameterisation(num_draws=20_000)).loss(key, q, TARGET)
    tighter = ImportanceWeighted(16, Reparameterisation(num_draws=5_000)).loss(key, q, TARGET)
    error = jnp.hypot(elbo.standard_error, tighter.standard_error)
    assert elbo.value - tighter.value > 5 * error
    assert -tighter.value < LOG_Z + 5 * tighter.standard_error


def test_one_weight_is_the_elbo(key):
    q = q_of(0.5, 0.3)
    one = ImportanceWeighted(1, Reparameterisation(num_draws=20_000)).loss(key, q, TARGET)
    exact = -LOG_Z + 0.5 * (jnp.exp(0.6) + 0.25 - 1) - 0.3
    assert abs(one.value - exact) < 5 * one.standard_error


def test_declared_bounds():
    assert NegativeElbo.bound == ImportanceWeighted.bound == "lower"


def test_a_biased_estimator_is_refused():
    with pytest.raises(InputError, match="biased"):
        ImportanceWeighted(4, StickingTheLanding())
    with pytest.raises(InputError, match="num_weights"):
        ImportanceWeighted(0)
