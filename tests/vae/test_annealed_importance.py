"""Annealed importance sampling against the exact evidence of probabilistic principal components."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen.core import InputError
from jensen.vae import annealed_evidence, fit_linear, linear_vae, log_likelihood_bound, probabilistic_pca
from jensen.vae.annealed_importance import temperatures_of

COLUMNS, K, ROWS = 5, 2, 12


@pytest.fixture(scope="module")
def linear():
    """Rows, the linear model at its optimum, its encoder, and log p(x) of each row."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, K)) @ rng.normal(size=(K, COLUMNS)) + 0.4 * rng.normal(size=(200, COLUMNS))
    model, conditional, _ = fit_linear(*linear_vae(jax.random.key(1), COLUMNS, K), X)
    truth = probabilistic_pca(X, K)
    rows = jnp.asarray(X[:ROWS])
    return rows, model, conditional, np.asarray(eqx.filter_jit(jax.vmap(truth.log_prob))(rows))


SETTINGS = dict(chains=64, temperatures=40, leapfrog_steps=4)


@pytest.fixture(scope="module")
def found(linear):
    """From the prior, without the encoder."""
    rows, model, _, _ = linear
    return annealed_evidence(jax.random.key(2), model, rows, **SETTINGS)


def test_it_is_the_exact_evidence_within_its_error_and_unbiased(linear, found):
    """E[w] = p(x), row by row within five standard errors, and all rows together."""
    truth = linear[3]
    off = np.expm1(np.asarray(found.value) - truth)
    error = np.asarray(found.standard_error) * np.exp(np.asarray(found.value) - truth)
    pooled = np.sqrt(np.sum(error**2)) / ROWS
    assert np.all(np.abs(off) < 5 * error)
    assert abs(off.mean()) < 5 * pooled < 0.5  # a factor of two would be seen
    assert np.all((np.asarray(found.acceptance) > 0.4) & (np.asarray(found.acceptance) < 0.95))
    assert found.log_weights.shape == (ROWS, 64)
    assert np.all(np.asarray(found.effective_size) <= 64)


def test_each_chain_alone_is_below_in_expectation_and_more_temperatures_come_closer(linear, found):
    rows, model, _, truth = linear
    few = annealed_evidence(jax.random.key(3), model, rows, **SETTINGS | {"temperatures": 3})
    means = []
    for each in (few, found):
        gaps = np.asarray(each.log_weights) - truth[:, None]
        error = np.sqrt(np.sum(gaps.var(1, ddof=1) / gaps.shape[1])) / ROWS
        assert gaps.mean() < -5 * error  # E log w < log E w, and not by chance
        means.append(gaps.mean())
    assert means[0] < means[1]


def test_it_agrees_with_importance_weights_where_the_encoder_is_right_and_shows_where_it_is_wrong(linear, found):
    rows, model, conditional, truth = linear
    good = log_likelihood_bound(jax.random.key(4), model, conditional, rows, 100)
    np.testing.assert_allclose(good, truth, atol=1e-3)  # q is the posterior
    off = np.asarray(found.value) - np.asarray(good)
    assert np.all(np.abs(off) < 5 * np.asarray(found.standard_error))
    # begun at the posterior itself every weight is p(x), whatever moves
    settings = dict(chains=2, temperatures=3, leapfrog_steps=1)
    begun = annealed_evidence(jax.random.key(5), model, rows, conditional=conditional, **settings)
    np.testing.assert_allclose(begun.log_weights, np.stack([truth, truth], 1), atol=2e-2)
    encoder = conditional.encoder
    moved = eqx.tree_at(
        lambda c: (c.encoder.bias, c.encoder.rest), conditional, (encoder.bias + 1.0, encoder.rest - 1.0)
    )
    poor = np.asarray(log_likelihood_bound(jax.random.key(4), model, moved, rows, 100))
    assert np.all(poor < np.asarray(found.value) - 5 * np.asarray(found.standard_error))


def test_temperatures_rise_from_zero_to_one():
    schedule = np.asarray(temperatures_of(7, jnp.float64))
    assert schedule[0] == 0
    assert schedule[-1] == 1
    assert np.all(np.diff(schedule) > 0)


def test_bad_input_is_met_at_the_door(linear):
    rows, model, _, _ = linear
    for change in ({"chains": 1}, {"temperatures": 0}, {"leapfrog_steps": 0}):
        with pytest.raises(InputError, match="wants two chains"):
            annealed_evidence(jax.random.key(0), model, rows, **SETTINGS | change)
    with pytest.raises(InputError, match="rows, values"):
        annealed_evidence(jax.random.key(0), model, rows[:0])
