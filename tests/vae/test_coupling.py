"""Entropic couplings against closed forms, and the autoencoder trained by them."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen.core import InputError, sample_many
from jensen.vae import (
    LatentModel,
    LinearDecoder,
    NoEncoder,
    StandardNormal,
    TransportLoss,
    couple,
    coupling_cost,
    row_target,
    semi_dual,
    semi_dual_value,
    sinkhorn_divergence,
    train,
    transported_codes,
)
from jensen.vae.likelihoods import gaussian

SCALE = np.sqrt(0.5)


def model_of(weight):
    return LatentModel(StandardNormal(1), LinearDecoder(jnp.asarray([[weight]]), jnp.zeros(1)), gaussian(SCALE, False))


def normal_points(n, scale=1.0):
    """The n quantiles of N(0, scale^2): less error than draws."""
    return scale * jax.scipy.stats.norm.ppf((jnp.arange(n) + 0.5) / n)[:, None]


def test_margins_value_and_duality_of_a_small_coupling():
    cost = jnp.asarray(np.random.default_rng(0).uniform(0, 3, (20, 30)))
    found = couple(cost, 0.5, tolerance=1e-9)
    plan = np.exp(found.log_plan)
    np.testing.assert_allclose(plan.sum(1), 1 / 20, rtol=1e-8)
    np.testing.assert_allclose(plan.sum(0), 1 / 30, rtol=1e-8)
    primal = np.sum(plan * cost) + 0.5 * np.sum(plan * (found.log_plan + np.log(600)))
    np.testing.assert_allclose(found.value, primal, rtol=1e-8)
    # the semi-dual is below it everywhere and meets it at the potentials
    np.testing.assert_allclose(semi_dual_value(found.potentials, cost, 0.5), found.value, rtol=1e-8)
    assert semi_dual_value(jnp.zeros(20), cost, 0.5) < found.value
    climbed = semi_dual(jax.random.key(0), cost, 0.5, steps=3000)
    assert 0 <= found.value - semi_dual_value(climbed, cost, 0.5) < 1e-2
    draws = eqx.filter_jit(jax.vmap(found.draw))(jax.random.split(jax.random.key(1), 4000))
    share = np.mean(np.asarray(draws[:, 0]) == 3)
    assert abs(share - 20 * plan[0, 3]) < 5 * np.sqrt(20 * plan[0, 3] / 4000)


def test_the_cost_of_the_true_linear_model_is_the_entropy_of_its_rows_and_of_others_above():
    """x = w z + e with data of w = 1.5: the entropy of N(0, w^2 + .5); the exact likelihood's is below at all w."""
    X, Z = normal_points(300, np.sqrt(1.5**2 + 0.5)), normal_points(300)
    entropy = 0.5 * np.log(2 * np.pi * np.e * (1.5**2 + 0.5))
    values = []
    for weight in (1.0, 1.5, 2.0):
        value = float(couple(coupling_cost(model_of(weight), X, Z)).value)
        spread = weight**2 + 0.5
        exact = 0.5 * np.log(2 * np.pi * spread) + 0.5 * float(jnp.mean(X**2)) / spread
        assert value > exact - 0.005
        values.append(value)
    assert abs(values[1] - entropy) < 0.01
    assert min(values) == values[1]


def test_training_finds_the_weight_and_codes_that_are_the_prior():
    """From w = 0.5 to 1.5 up to sign, without an encoder; the codes' variance is that of the prior."""
    X = normal_points(100, np.sqrt(1.5**2 + 0.5))
    objective = TransportLoss(num_draws=100)
    options = dict(objective=objective, epochs=200, batch_size=100, learning_rate=2e-2, progress=False)
    trained = train(jax.random.key(1), model_of(0.5), NoEncoder(1), X, **options)
    assert abs(abs(float(trained.model.decoder.weight[0, 0])) - 1.5) < 0.1
    codes, value = transported_codes(jax.random.key(2), trained.model, X, 500)
    assert abs(float(jnp.var(codes)) - 1) < 5 * np.sqrt(2 / 100)
    assert abs(float(value) - 0.5 * np.log(2 * np.pi * np.e * 2.75)) < 0.1


def test_the_sinkhorn_divergence_of_shifted_samples_is_half_the_squared_shift():
    x = jnp.asarray(np.random.default_rng(2).normal(size=(60, 2)))
    np.testing.assert_allclose(sinkhorn_divergence(x, x, 0.1), 0.0, atol=1e-6)
    np.testing.assert_allclose(sinkhorn_divergence(x, x + jnp.array([1.0, 0.5]), 0.1), 0.625, rtol=1e-3)


def test_bad_input():
    with pytest.raises(InputError, match="finite"):
        couple(jnp.full((2, 2), jnp.nan))
    with pytest.raises(InputError, match="epsilon"):
        couple(jnp.ones((2, 2)), 0.0)
    with pytest.raises(InputError, match="epsilon"):
        TransportLoss(-1.0)
    with pytest.raises(InputError, match="num_draws"):
        TransportLoss(num_draws=0)


def test_the_value_of_a_step_is_that_of_its_coupling():
    X, key, model = normal_points(40), jax.random.key(3), model_of(1.2)
    loss = TransportLoss(num_draws=50, rounds=200)
    found = loss.losses(key, NoEncoder(1), X, lambda x: row_target(model, x), 40)
    exact = couple(coupling_cost(model, X, sample_many(key, model.prior, 50)), tolerance=1e-8)
    np.testing.assert_allclose(jnp.mean(found.value), exact.value, rtol=1e-6)
