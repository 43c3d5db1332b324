"""Bits and one of several as latents: enumeration is the truth; the guide's gradients are what they claim."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen.core import Clock, InputError
from jensen.vae import (
    BetaElbo,
    BinaryHead,
    BinaryLatents,
    ClosedGaussianElbo,
    GuidedDecoder,
    GuidedElbo,
    LatentModel,
    LinearDecoder,
    OneHotHead,
    OneHotLatents,
    StandardNormal,
    closed_divergence,
    linear_vae,
    row_target,
)
from jensen.vae.likelihoods import gaussian

K, COLUMNS = 3, 5
LOGITS = jnp.asarray([0.5, -1.0, 0.3])
BITS = jnp.asarray(list(itertools.product((0.0, 1.0), repeat=K)))


@pytest.mark.parametrize(("family", "support"), [(BinaryLatents, BITS), (OneHotLatents, jnp.eye(K))])
def test_moments_divergence_and_closed_bound_are_sums_over_the_support(family, support):
    q, prior = family(LOGITS), family(jnp.asarray([0.1, 0.2, -0.7]))
    p = np.exp(eqx.filter_jit(jax.vmap(q.log_prob))(support))
    np.testing.assert_allclose(np.sum(p), 1.0, rtol=1e-12)
    mean, cov = q.mean_and_cov()
    np.testing.assert_allclose(mean, p @ support, rtol=1e-12)
    np.testing.assert_allclose(cov, (support - mean).T @ (p[:, None] * (support - mean)), atol=1e-12)
    apart = p @ (np.log(p) - eqx.filter_jit(jax.vmap(prior.log_prob))(support))
    np.testing.assert_allclose(closed_divergence(q, prior), apart, rtol=1e-10)
    assert closed_divergence(q, StandardNormal(K)) is None
    model, _ = linear_vae(jax.random.key(0), COLUMNS, K)
    target = row_target(eqx.tree_at(lambda m: m.prior, model, prior), jnp.arange(COLUMNS, dtype=float))
    exact = p @ (np.log(p) - eqx.filter_jit(jax.vmap(target.log_density))(support))
    found = ClosedGaussianElbo().loss(jax.random.key(1), q, target).value
    np.testing.assert_allclose(found, exact, rtol=1e-12)
    draws = eqx.filter_jit(jax.vmap(q.sample))(jax.random.split(jax.random.key(2), 20_000))
    assert np.all(np.abs(np.mean(draws, 0) - mean) < 5 * np.sqrt(np.diagonal(cov) / 20_000))


def test_heads_take_their_context_as_logits():
    np.testing.assert_array_equal(BinaryHead(K).density(LOGITS).logits, LOGITS)
    np.testing.assert_array_equal(OneHotHead(K).density(LOGITS).logits, LOGITS)
    assert BinaryHead(K).context == OneHotHead(K).context == K


@pytest.fixture(scope="module")
def guided():
    model, conditional = linear_vae(jax.random.key(3), COLUMNS, K)
    other, _ = linear_vae(jax.random.key(4), COLUMNS, K)
    decoder = GuidedDecoder(model.decoder, other.decoder, jnp.asarray(-0.3))
    return LatentModel(StandardNormal(K), decoder, gaussian(0.8)), conditional


def gradients(objective, model, conditional, key):
    x = jnp.arange(COLUMNS, dtype=float)

    def loss(parts):
        model, conditional = parts
        return objective.loss(key, conditional.given(x), row_target(model, x)).surrogate

    return eqx.filter_grad(loss)((model, conditional))


def test_the_encoder_follows_the_guide_first_and_the_real_decoder_last(guided):
    """Share one: the encoder's gradient is that of the guide's exact bound. Share zero: that of the real bound."""
    model, conditional = guided
    key, zero = jax.random.key(5), jnp.zeros((), jnp.int32)
    objective = GuidedElbo(fall=100.0)
    decoder = model.decoder
    alone = LatentModel(StandardNormal(K), decoder.guide, gaussian(float(jnp.exp(decoder.log_scale))))
    real = LatentModel(StandardNormal(K), decoder.decoder, model.likelihood)
    first_model, first = gradients(objective.at(Clock(zero, zero + 200)), model, conditional, key)
    guide_model, guide = gradients(ClosedGaussianElbo(), alone, conditional, key)
    np.testing.assert_allclose(first.encoder.weight, guide.encoder.weight, rtol=1e-10)
    np.testing.assert_allclose(first_model.decoder.guide.weight, guide_model.decoder.weight, rtol=1e-10)
    last_model, last = gradients(objective.at(Clock(zero + 100, zero + 200)), model, conditional, key)
    plain_model, plain = gradients(BetaElbo(), real, conditional, key)
    np.testing.assert_allclose(last.encoder.weight, plain.encoder.weight, rtol=1e-10)
    for found in (first_model, last_model):  # each decoder by its own term all along
        np.testing.assert_allclose(found.decoder.decoder.weight, plain_model.decoder.weight, rtol=1e-10)
        np.testing.assert_allclose(found.decoder.guide.weight, guide_model.decoder.weight, rtol=1e-10)
        np.testing.assert_allclose(found.likelihood.log_scale, plain_model.likelihood.log_scale, rtol=1e-10)
    x = jnp.arange(COLUMNS, dtype=float)
    pairs = ((objective, model), (BetaElbo(), real))
    values = [o.loss(key, conditional.given(x), row_target(m, x)).value for o, m in pairs]
    np.testing.assert_allclose(values[0], values[1], rtol=1e-12)


def test_bad_input_is_met_at_the_door(guided):
    _, conditional = guided
    model, _ = linear_vae(jax.random.key(3), COLUMNS, K)
    x = jnp.zeros(COLUMNS)
    with pytest.raises(InputError, match="GuidedDecoder"):
        GuidedElbo().loss(jax.random.key(0), conditional.given(x), row_target(model, x))
    with pytest.raises(InputError, match="positive"):
        GuidedElbo(fall=0.0)
    assert isinstance(model.decoder, LinearDecoder)
