"""The noise scale by running averages: its fixed point is that of probabilistic PCA; bad input at the door."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.vae.test_linear import COLUMNS, ROWS, K

from jensen.algorithms import AmortisedVI, Refreshed
from jensen.core import Clock, InputError, PointPosterior
from jensen.vae import (
    FallingScale,
    LatentModel,
    RunningScale,
    fit_linear,
    latent_rows,
    linear_vae,
    probabilistic_pca,
    sampled_error,
)
from jensen.vae.likelihoods import Bernoulli, Gaussian


@pytest.fixture(scope="module")
def linear():
    rng = np.random.default_rng(0)
    weight = 1.5 * rng.normal(size=(COLUMNS, K)) / (1 + np.arange(K))
    X = rng.normal(size=(ROWS, K)) @ weight.T + np.sqrt(0.5) * rng.normal(size=(ROWS, COLUMNS))
    model, conditional, _ = fit_linear(*linear_vae(jax.random.key(1), COLUMNS, K), X)
    return jnp.asarray(X), model, conditional


def test_at_the_optimum_the_sampled_error_is_the_noise_of_probabilistic_pca(linear):
    """And the error of the reconstruction at the mean is smaller, by the noise that the draws add."""
    X, model, conditional = linear
    truth = float(probabilistic_pca(np.asarray(X), K).noise)
    keys = jax.random.split(jax.random.key(2), 200)
    values = np.asarray(jax.jit(jax.vmap(lambda k: sampled_error(k, model, conditional, X)))(keys))
    error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values) - truth) < 5 * error
    assert 5 * error < 0.01 * truth
    at_mean = eqx.filter_jit(jax.vmap(lambda x: model.reconstruct(conditional.given(x).mean) - x))(X)
    assert float(jnp.mean(at_mean**2)) < truth - 20 * error


def test_the_updates_are_their_formulas_and_what_descent_does_is_undone(linear):
    X, model, conditional = linear
    target = latent_rows(eqx.tree_at(lambda m: m.likelihood.log_scale, model, jnp.asarray(0.3)), X)
    key = jax.random.key(3)
    error = float(sampled_error(key, model, conditional, X))
    old = np.exp(0.6)
    found = RunningScale(0.25).update(key, target.theta, conditional, target)["likelihood.log_scale"]
    np.testing.assert_allclose(np.exp(2 * found), 0.75 * old + 0.25 * error, rtol=1e-12)
    low = eqx.tree_at(lambda t: t.model.likelihood.log_scale, target, jnp.asarray(-3.0))
    kept = FallingScale(0.25).update(key, low.theta, conditional, low)["likelihood.log_scale"]
    assert float(kept) == -3.0

    for every, moves in ((1, True), (2, False)):
        algorithm = Refreshed(AmortisedVI(conditional, learning_rate=0.1), RunningScale(0.25, every))
        state = algorithm.init(key, target, PointPosterior(target.space, target.theta))
        zero = jnp.zeros((), jnp.int32)
        state, _ = eqx.filter_jit(algorithm.step)(key, state, target, Clock(zero, zero + 10))
        scale = target.space.split(state.z)["likelihood.log_scale"]
        assert (float(scale) != 0.3) == moves
        weight = target.space.split(state.z)["decoder.weight"]
        assert not np.allclose(weight, model.decoder.weight)


def test_bad_input_is_met_at_the_door(linear):
    X, model, conditional = linear
    with pytest.raises(InputError, match="rate"):
        RunningScale(0.0)
    with pytest.raises(InputError, match="rate"):
        FallingScale(1.5)
    for likelihood in (Bernoulli(), Gaussian(jnp.zeros(COLUMNS)), Gaussian(jnp.zeros(()), False)):
        target = latent_rows(LatentModel(model.prior, model.decoder, likelihood), X)
        with pytest.raises(InputError, match="one trained scale"):
            Refreshed(AmortisedVI(conditional), RunningScale()).check(target)
