"""Relaxed categories against quadrature, and coupled autoencoders against the sum of their parts."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen.core import Clock, InputError
from jensen.vae import (
    CategoryNormal,
    ConcreteNormal,
    CoupledElbo,
    arm_categories,
    concrete_head,
    coupled_autoencoder,
    likelihoods,
    row_target,
    simplex_distance,
)
from jensen.vae.coupled import entropy


def relaxed(temperature, k=2):
    logits = jnp.array([0.4, -0.7, 0.1])[:k]
    shift = jnp.array([[0.5, -1.0, 0.2]])[:, :k]
    return ConcreteNormal(logits, jnp.array([0.3]), shift, jnp.array([-0.4]), jnp.asarray(temperature))


def test_the_relaxed_density_has_a_mass_of_one():
    """Over c_1 by its logit and s, on a grid."""
    q = relaxed(0.6)
    logit, s = np.linspace(-25, 25, 801), np.linspace(-5, 6, 301)
    c = 1 / (1 + np.exp(-logit))
    pairs = np.stack(np.meshgrid(c, s, indexing="ij"), -1).reshape(-1, 2)
    z = jnp.asarray(np.stack([pairs[:, 0], 1 - pairs[:, 0], pairs[:, 1]], 1))
    density = np.exp(np.asarray(jax.jit(jax.vmap(q.log_prob))(z))).reshape(len(c), len(s))
    slope = c * (1 - c)
    mass = np.sum(density * slope[:, None]) * (logit[1] - logit[0]) * (s[1] - s[0])
    assert mass == pytest.approx(1.0, abs=1e-4)
    mean = np.sum(density * (slope * c)[:, None]) * (logit[1] - logit[0]) * (s[1] - s[0])
    drawn = np.asarray(jax.jit(jax.vmap(q.sample))(jax.random.split(jax.random.key(0), 20_000)))
    assert abs(drawn[:, 0].mean() - mean) < 5 * drawn[:, 0].std() / math.sqrt(20_000)
    centred = drawn[:, 2] - 0.3 - drawn[:, :2] @ np.array([0.5, -1.0])
    assert abs(centred.mean()) < 5 * math.exp(-0.4) / math.sqrt(20_000)


def test_the_largest_value_is_a_categorical_draw_at_every_temperature():
    for temperature in (0.1, 2.0):
        q = relaxed(temperature, 3)
        drawn = np.asarray(jax.jit(jax.vmap(q.sample))(jax.random.split(jax.random.key(1), 20_000)))
        shares, truth = np.bincount(drawn[:, :3].argmax(1), minlength=3) / 20_000, np.asarray(jax.nn.softmax(q.logits))
        assert np.all(np.abs(shares - truth) < 5 * np.sqrt(truth * (1 - truth) / 20_000))
    drawn = CategoryNormal(3, 2).sample(jax.random.key(2))
    assert sorted(np.asarray(drawn[:3])) == [0, 0, 1]
    normal = -0.5 * float(drawn[3:] @ drawn[3:]) - math.log(2 * math.pi)
    assert float(CategoryNormal(3, 2).log_prob(drawn)) == pytest.approx(normal - math.log(3))


def same(key, x):
    return x


def test_without_coupling_the_loss_is_that_of_separate_autoencoders():
    X = jax.random.normal(jax.random.key(3), (6, 4))
    model: Any
    model, arms = coupled_autoencoder(jax.random.key(4), X, likelihoods.gaussian(), 3, 2, hidden=(5,))
    key = jax.random.key(5)

    def losses(**settings):
        objective = CoupledElbo(same, **settings)
        return np.asarray(objective.losses(key, arms, X, lambda x: row_target(model, x), 6).value)

    keys = jax.random.split(key, (2, 6))
    truth = np.zeros(6)
    shares = []
    for a, (arm, decoder) in enumerate(zip(arms.arms, model.decoder.arms, strict=True)):
        for i, x in enumerate(X):
            q: Any = arm.given(x)
            z = q.sample(jax.random.split(keys[a, i])[1])
            mean, scale = np.asarray(q.mean + q.shift @ z[:3]), np.exp(np.asarray(q.log_scale))
            truth[i] += 0.5 * np.sum(mean**2 + scale**2 - 1 - 2 * np.log(scale))
            truth[i] -= float(model.likelihood.log_prob(x, decoder(z)))
            p = np.asarray(jax.nn.softmax(q.logits))
            truth[i] += np.sum(p * np.log(p))  # minus the entropy: the divergence from uniform less log K
            shares.append(p)
    np.testing.assert_allclose(losses(coupling=0.0), truth, rtol=1e-9)
    p, q = jnp.asarray(shares[:6]), jnp.asarray(shares[6:])
    np.testing.assert_allclose(losses(coupling=0.7) - truth, 0.7 * simplex_distance(p, q), rtol=1e-6)
    assert arm_categories(arms, X).tolist() == [list(np.argmax(p, 1)), list(np.argmax(q, 1))]
    half = CoupledElbo(same, coupling=0.8).at(Clock(jnp.asarray(15), jnp.asarray(100)))
    assert float(half.coupling) == pytest.approx(0.4)


def test_the_distance_is_zero_for_equals_alone_and_entropy_has_its_sign():
    p = jax.nn.softmax(jax.random.normal(jax.random.key(6), (10, 4)))
    np.testing.assert_allclose(simplex_distance(p, p), 0.0)
    assert jnp.all(simplex_distance(p, p[::-1]) > 0)
    np.testing.assert_allclose(entropy(jnp.full((2, 4), 0.25)), math.log(4))
    np.testing.assert_allclose(entropy(jnp.eye(4)), 0.0)


def test_settings_that_cannot_be_are_refused():
    X = jnp.zeros((4, 2))
    with pytest.raises(InputError, match="2 arms"):
        coupled_autoencoder(jax.random.key(0), X, likelihoods.gaussian(), 3, 1, arms=1)
    with pytest.raises(InputError, match="2 or more"):
        concrete_head(1, 1)
    with pytest.raises(InputError, match="temperature"):
        concrete_head(2, 1, 0.0)
    model, arms = coupled_autoencoder(jax.random.key(0), X, likelihoods.gaussian(), 3, 1)
    with pytest.raises(InputError, match="of one number"):
        CoupledElbo(same).losses(jax.random.key(0), arms.arms[0], X, lambda x: row_target(model, x), 4)
