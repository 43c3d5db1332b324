"""Conditional and two-level linear autoencoders against Gaussian evidences and thresholds in closed form."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen.amortised import Encoded
from jensen.core import InputError
from jensen.vae import (
    ConditionalModel,
    LinearHierarchy,
    MeanField,
    StandardNormal,
    conditional_collapse,
    fit_hierarchy,
    fit_linear,
    hierarchical_collapse,
    linear_conditional_vae,
    linear_hierarchy,
    log_likelihood_bound,
    perceptron_encoder,
    perceptron_given,
    train,
)
from jensen.vae.likelihoods import gaussian

NOISE = 0.3


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 2))
    Y = X @ rng.normal(size=(2, 4)) + rng.normal(size=(300, 2)) @ np.diag([2.0, 0.4]) @ rng.normal(size=(2, 4))
    Y = Y + np.sqrt(NOISE) * rng.normal(size=(300, 4))
    return X - X.mean(0), Y - Y.mean(0)


def test_the_conditional_autoencoder_is_probabilistic_pca_of_what_the_input_leaves(rows):
    """Its bound at the optimum is the mean of log N(y; B x, W W^T + s I), W by the closed form."""
    X, Y = rows
    model, encoder = linear_conditional_vae(jax.random.key(0), 2, 4, 3, NOISE)
    model, encoder, bound = fit_linear(model, encoder, np.hstack([X, Y]))
    slope = np.linalg.lstsq(X, Y, rcond=None)[0].T
    np.testing.assert_allclose(model.decoder.slope, slope, atol=1e-6)
    found = np.linalg.svd(np.asarray(model.decoder.weight), compute_uv=False) ** 2
    np.testing.assert_allclose(found, conditional_collapse(X, Y, NOISE)[:3], atol=1e-6)
    left = Y - X @ slope.T
    cov = np.asarray(model.decoder.weight) @ np.asarray(model.decoder.weight).T + NOISE * np.eye(4)
    quadratic = np.mean(np.sum(left * np.linalg.solve(cov, left.T).T, 1))
    evidence = -0.5 * (quadratic + np.linalg.slogdet(2 * np.pi * cov)[1])
    np.testing.assert_allclose(bound, evidence, rtol=1e-9)
    ours = log_likelihood_bound(jax.random.key(1), model, encoder, jnp.asarray(np.hstack([X, Y])), 1)
    np.testing.assert_allclose(np.mean(ours), evidence, atol=1e-6)  # q is the posterior: one weight is enough


def test_the_hierarchy_s_loss_at_the_exact_posterior_is_the_evidence():
    """One unit a level and both conditionals exact: minus the mean of log N(x; 0, U1 (U2^2 + h) U1^T + s I)."""
    rng = np.random.default_rng(1)
    u1, u2, h, s = rng.normal(size=(3, 1)), 1.3, 0.4, 0.5
    cov = np.cov(rng.normal(size=(50, 3)) @ rng.normal(size=(3, 3)), rowvar=False)
    prior = u2**2 + h
    t = 1 / (1 / prior + float(u1[:, 0] @ u1[:, 0]) / s)
    w1 = t * u1.T / s
    r = 1 / (1 + u2**2 / h)
    exact = LinearHierarchy(
        (jnp.asarray(w1), jnp.asarray([[r * u2 / h]])),
        (jnp.log(jnp.asarray([t])), jnp.log(jnp.asarray([r]))),
        (jnp.asarray(u1), jnp.asarray([[u2]])),
    )
    marginal = prior * u1 @ u1.T + s * np.eye(3)
    evidence = -0.5 * (np.trace(np.linalg.solve(marginal, cov)) + np.linalg.slogdet(2 * np.pi * marginal)[1])
    np.testing.assert_allclose(-exact.loss(jnp.asarray(cov), s, h), evidence, rtol=1e-12)
    worse = eqx.tree_at(lambda m: m.log_spreads[0], exact, exact.log_spreads[0] + 0.5)
    assert -worse.loss(jnp.asarray(cov), s, h) < evidence - 0.01


@pytest.mark.parametrize("between", [0.4, 0.6])
def test_the_upper_level_follows_its_threshold(between):
    start = linear_hierarchy(jax.random.key(2), 2, (2, 2), 0.5)
    cov = np.diag([3.0, 0.3])  # the second mode is empty at the lower level too: z1 has the variance 0.5 of q alone
    found = fit_hierarchy(start, cov, 0.5, between, keep_spread=True)
    upper = np.linalg.svd(np.asarray(found.decoders[1]), compute_uv=False) ** 2
    truth = hierarchical_collapse(np.array([3.0, 0.3]), 0.5, between, 0.5)
    assert list(truth > 0) == [True, between < 0.5]
    np.testing.assert_allclose(upper, truth, atol=1e-5)
    np.testing.assert_array_equal(found.log_spreads[0], start.log_spreads[0])


def test_perceptrons_train_and_what_the_input_tells_is_learned(rows):
    X, Y = rows
    both = jnp.asarray(np.hstack([X, Y]))
    keys = jax.random.split(jax.random.key(3), 3)
    decoder = perceptron_given(keys[0], 2, 2, (8,), jnp.zeros((4, 1)))
    head = MeanField(2)
    encoder = perceptron_encoder(keys[1], both.mean(0), both.std(0), (8,), head.context)
    model = ConditionalModel(StandardNormal(2), decoder, gaussian())
    trained = train(keys[2], model, Encoded(encoder, head), both, epochs=30, batch_size=50, learning_rate=1e-2)
    values = trained.run.history.objective
    assert np.mean(values[-10:]) < np.mean(values[:10]) - 100
    assert trained.model.sample(keys[0], jnp.zeros(2)).shape == (4,)


def test_bad_input_is_met_at_the_door():
    with pytest.raises(InputError, match="as many rows"):
        conditional_collapse(np.zeros((3, 2)), np.zeros((4, 2)), 1.0)
    with pytest.raises(InputError, match="must be positive"):
        linear_hierarchy(jax.random.key(0), 2, (1, 1), 0.0)
