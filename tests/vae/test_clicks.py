"""The multinomial model of clicks, dropout at the encoder's door, and the annealed divergence."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen.algorithms import AmortisedVI
from jensen.amortised import Encoder
from jensen.core import Clock, InputError
from jensen.vae import (
    AnnealedElbo,
    BetaElbo,
    DroppedInputs,
    MeanField,
    UnitLengthEncoded,
    click_scores,
    latent_rows,
    multinomial_vae,
    row_target,
    train,
)

rng = np.random.default_rng(0)
CLICKS = (rng.random((40, 6)) < 0.4).astype(float)
CLICKS[CLICKS.sum(1) == 0, 0] = 1


class Plain(Encoder):
    """What the encoder is given is the mean."""

    def __call__(self, data):
        return jnp.concatenate([data, jnp.zeros(6)])


@pytest.fixture(scope="module")
def parts():
    return multinomial_vae(jax.random.key(0), CLICKS, latent_dim=2, hidden=8)


def test_the_annealed_weight_follows_the_clock(parts):
    """min(cap, t / rise), beside the beta ELBO of that weight; afterwards and by itself the cap."""
    model, conditional = parts
    x = jnp.asarray(CLICKS[0])
    q, target, key = conditional.given(x), row_target(model, x), jax.random.key(1)
    objective = AnnealedElbo(weight=0.4, rise=100.0)
    algorithm = AmortisedVI(conditional, DroppedInputs(objective))

    @jax.jit
    def both(t):
        clock = Clock(t, jnp.asarray(1000))
        return objective.at(clock).loss(key, q, target).value, algorithm.at(clock).objective.objective.reached

    for t in (0, 10, 40, 500):
        value, reached = both(jnp.asarray(t))
        truth = BetaElbo(weight=min(0.4, t / 100)).loss(key, q, target).value
        np.testing.assert_allclose(value, truth, rtol=1e-9)
        np.testing.assert_allclose(0.4 * reached, min(0.4, t / 100), rtol=1e-9)
    np.testing.assert_allclose(objective.loss(key, q, target).value, BetaElbo(0.4).loss(key, q, target).value)
    with pytest.raises(InputError, match="rise must be positive"):
        AnnealedElbo(rise=0.0)


def test_dropout_keeps_the_mean_of_what_the_encoder_sees(parts):
    """E[dropped] = x / |x|, with half the values zero; rate zero is the plain encoder."""
    _, conditional = parts
    x = jnp.asarray(CLICKS[1])

    seen = UnitLengthEncoded(Plain(), MeanField(6), rate=0.5)
    rows = eqx.filter_jit(jax.vmap(lambda k: seen.dropped(k, x).mean))(jax.random.split(jax.random.key(2), 20_000))
    unit = x / jnp.linalg.norm(x)
    error = jnp.std(rows, 0) / np.sqrt(len(rows))
    assert jnp.all(jnp.abs(rows.mean(0) - unit) <= 5 * error)
    assert set(np.round(np.unique(np.asarray(rows)), 9)) == {0.0, float(np.round(2 * unit.max(), 9))}
    none = UnitLengthEncoded(conditional.encoder, conditional.head, rate=0.0)
    np.testing.assert_allclose(none.dropped(jax.random.key(0), x).mean, none.given(x).mean)
    with pytest.raises(InputError, match="dropout"):
        UnitLengthEncoded(conditional.encoder, conditional.head, rate=1.0)


def test_the_multinomial_sums_to_one_and_its_gradient_is_counts_less_expected(parts):
    """Over all orders of two clicks on three items; d log p / d logits = x - N softmax."""
    likelihood = parts[0].likelihood
    logits = jnp.array([[0.3], [-1.0], [0.5]])
    rows = {tuple(np.bincount(pair, minlength=3)) for pair in itertools.product(range(3), repeat=2)}
    total = sum(float(jnp.exp(likelihood.log_prob(jnp.asarray(row, float), logits))) for row in rows)
    np.testing.assert_allclose(total, 1.0, rtol=1e-9)
    x = jnp.array([2.0, 0.0, 3.0])
    gradient = eqx.filter_jit(jax.grad(lambda raw: likelihood.log_prob(x, raw)))(logits)[:, 0]
    np.testing.assert_allclose(gradient, x - 5 * jax.nn.softmax(logits[:, 0]), atol=1e-9)


def test_training_lowers_the_objective_and_scores_are_log_probabilities(parts):
    model, conditional = parts
    objective = DroppedInputs(AnnealedElbo(0.2, rise=100.0))
    trained = train(
        jax.random.key(3),
        model,
        conditional,
        jnp.asarray(CLICKS),
        objective=objective,
        epochs=60,
        batch_size=20,
        learning_rate=1e-2,
        progress=False,
    )
    losses = trained.run.history.objective
    assert np.mean(losses[-20:]) < np.mean(losses[:10]) - 5 * np.std(losses[-20:]) / np.sqrt(20)
    scores = click_scores(trained.model, trained.conditional, jnp.asarray(CLICKS))
    np.testing.assert_allclose(jnp.sum(jnp.exp(scores), 1), 1.0, rtol=1e-9)
    assert latent_rows(model, jnp.asarray(CLICKS)).num_rows == len(CLICKS)
    with pytest.raises(InputError, match="hold no counts"):
        multinomial_vae(jax.random.key(0), np.vstack([CLICKS, np.zeros(6)]), 2, 8)
