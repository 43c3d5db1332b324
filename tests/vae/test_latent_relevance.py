"""Relevance of latents: conjugate statistics by formula, a score that rescaling does not move, bad input."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen.algorithms import AmortisedVI, Refreshed
from jensen.core import InputError
from jensen.vae import (
    ClosedGaussianElbo,
    Relevance,
    RelevancePrior,
    closed_divergence,
    latent_rows,
    linear_vae,
    relevance,
    relevant_axes,
    train,
)

COLUMNS, K = 5, 3


@pytest.fixture(scope="module")
def parts():
    X = jnp.asarray(np.random.default_rng(0).normal(size=(60, 2)) @ np.random.default_rng(1).normal(size=(2, COLUMNS)))
    X = X + 0.3 * jax.random.normal(jax.random.key(0), X.shape)
    model, conditional = linear_vae(jax.random.key(1), COLUMNS, K)
    return X, eqx.tree_at(lambda m: m.prior, model, RelevancePrior(jnp.asarray([0.3, 0.0, -0.5]))), conditional


def test_variances_are_those_of_the_conjugate_posterior(parts):
    """In the mean over keys: (b + n/2 (mean m^2 + s^2)) / (a + n/2)."""
    X, model, conditional = parts
    target = latent_rows(model, X)
    closed = Relevance(X, shape=3.0, rate=2.0)
    keys = jax.random.split(jax.random.key(2), 1000)

    def variances(key):
        return jnp.exp(2 * closed.update(key, target.theta, conditional, target)["prior.log_scale"])

    values = np.asarray(jax.jit(jax.vmap(variances))(keys))
    mean, cov = eqx.filter_jit(jax.vmap(lambda x: conditional.given(x).mean_and_cov()))(X)
    second = np.mean(np.asarray(mean) ** 2 + np.diagonal(np.asarray(cov), axis1=1, axis2=2), 0)
    truth = (2.0 + 30 * second) / (3.0 + 30)
    error = values.std(0) / np.sqrt(len(values))
    assert np.all(np.abs(values.mean(0) - truth) < 5 * error)
    assert np.all(5 * error < 0.1 * truth)


def test_the_score_is_in_closed_form_and_no_rescaling_moves_it(parts):
    X, model, conditional = parts
    variances = jnp.exp(2 * model.prior.log_scale)
    truth = np.asarray(variances) * np.sum(np.asarray(model.decoder.weight) ** 2, 0)
    np.testing.assert_allclose(relevance(model, conditional, X, variances), truth, rtol=1e-10)
    scaled = eqx.tree_at(lambda m: m.decoder.weight, model, model.decoder.weight / jnp.asarray([2.0, 5.0, 0.1]))
    again = relevance(scaled, conditional, X, variances * jnp.asarray([2.0, 5.0, 0.1]) ** 2)
    np.testing.assert_allclose(again, truth, rtol=1e-10)
    assert list(relevant_axes(np.array([1.0, 0.0, 50.0]))) == [2, 0]
    assert list(relevant_axes(np.array([1.0, 0.0, 500.0]))) == [2]


def test_training_finds_the_plane_and_keeps_variances_at_their_formula(parts):
    X, model, conditional = parts
    closed = Relevance(X, every=5)
    settings = dict(epochs=300, batch_size=60, learning_rate=2e-2, objective=ClosedGaussianElbo(), closed=closed)
    trained = train(jax.random.key(3), model, conditional, X, **settings)
    variances = jnp.exp(2 * trained.model.prior.log_scale)
    assert len(relevant_axes(relevance(trained.model, trained.conditional, X, variances))) == 2
    q = trained.conditional.given(X[0])
    prior = trained.model.prior
    draws = eqx.filter_jit(jax.vmap(q.sample))(jax.random.split(jax.random.key(4), 20_000))
    values = eqx.filter_jit(jax.vmap(lambda z: q.log_prob(z) - prior.log_prob(z)))(draws)
    assert abs(float(jnp.mean(values) - closed_divergence(q, prior))) < 5 * float(jnp.std(values)) / np.sqrt(20_000)


def test_bad_input_is_met_at_the_door(parts):
    X, _, conditional = parts
    with pytest.raises(InputError, match="Gamma"):
        Relevance(X, shape=-1.0)
    with pytest.raises(InputError, match="share"):
        relevant_axes(np.ones(3), 1.0)
    model, _ = linear_vae(jax.random.key(1), COLUMNS, K)
    with pytest.raises(InputError, match="RelevancePrior"):
        Refreshed(AmortisedVI(conditional), Relevance(X)).check(latent_rows(model, X))
