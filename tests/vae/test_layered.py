"""Rank-one precisions, latents in layers, their divergences, and values that are missing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen.core import InputError
from jensen.families import Gaussian
from jensen.families.gaussian import gaussian_from_cov, kl_gaussian
from jensen.vae import (
    Blocks,
    LayeredHead,
    MeanField,
    RankOne,
    RankOnePrecision,
    RelevancePrior,
    StandardNormal,
    closed_divergence,
    deep_latent_decoder,
    impute,
    linear_vae,
)

K = 3


def rank_one(seed, factor=1.0):
    rng = np.random.default_rng(seed)
    mean, log_precision, u = (jnp.asarray(rng.normal(size=K)) for _ in range(3))
    return RankOnePrecision(mean, log_precision, factor * u)


def dense(q):
    precision = jnp.diag(jnp.exp(q.log_precision)) + jnp.outer(q.factor, q.factor)
    return gaussian_from_cov(q.mean, jnp.linalg.inv(precision))


@pytest.mark.parametrize("factor", [0.0, 1.0, 30.0])
def test_a_rank_one_precision_is_the_dense_gaussian(factor):
    q = rank_one(0, factor)
    same = dense(q)
    z = jnp.asarray([0.3, -1.0, 2.0])
    np.testing.assert_allclose(q.log_prob(z), same.log_prob(z), rtol=1e-9)
    np.testing.assert_allclose(q.mean_and_cov()[1], same.cov, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(q.variances, jnp.diagonal(same.cov), rtol=1e-9)
    np.testing.assert_allclose(q.entropy(), same.entropy(), rtol=1e-10)
    np.testing.assert_allclose(q.inverse(q.from_noise(z)), z, rtol=1e-9)
    root = jax.vmap(lambda e: q.from_noise(e) - q.mean, out_axes=1)(jnp.eye(K))
    np.testing.assert_allclose(root @ root.T, same.cov, rtol=1e-8, atol=1e-12)
    gradient = jax.grad(lambda q: q.log_prob(z))(q)
    assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(gradient))


def test_divergences_of_blocks_and_scaled_priors_are_those_of_dense_gaussians():
    a, b = rank_one(1), rank_one(2)
    q = Blocks((a, b))
    cov = jax.scipy.linalg.block_diag(dense(a).cov, dense(b).cov)
    same = gaussian_from_cov(jnp.concatenate([a.mean, b.mean]), cov)
    log_scale = jnp.linspace(-0.5, 0.5, 2 * K)
    for prior, wide in ((StandardNormal(2 * K), jnp.zeros(2 * K)), (RelevancePrior(log_scale), log_scale)):
        truth = kl_gaussian(same, Gaussian(jnp.zeros(2 * K), jnp.diag(jnp.exp(wide))))
        np.testing.assert_allclose(closed_divergence(q, prior), truth, rtol=1e-10)
    np.testing.assert_allclose(q.mean_and_cov()[1], cov, rtol=1e-12)
    z, log_q = q.sample_and_log_prob(jax.random.key(0))
    np.testing.assert_allclose(log_q, same.log_prob(z), rtol=1e-9)
    prior = RelevancePrior(log_scale)
    np.testing.assert_allclose(
        prior.log_prob(z), Gaussian(jnp.zeros(2 * K), jnp.diag(jnp.exp(log_scale))).log_prob(z), rtol=1e-12
    )


def test_without_hidden_layers_noise_of_every_layer_adds_up():
    """Linear maps between layers: the decoder is linear in all latents, with the products as its columns."""
    start = jnp.zeros((5, 1))
    decoder = deep_latent_decoder(jax.random.key(1), (3, 2), (), start)
    first, second = decoder.networks
    z = jnp.asarray([0.5, -1.0, 2.0, 0.3, 0.7])
    h = second.weight @ z[3:] + second.bias + z[:3]
    np.testing.assert_allclose(decoder(z)[:, 0], first.weight @ h + first.bias, rtol=1e-12)
    head = LayeredHead((RankOne(3), MeanField(2)))
    q = head.density(jnp.arange(head.context, dtype=float))
    assert head.context == 13
    assert head.dimension == q.dimension == 5
    np.testing.assert_allclose(q.parts[1].mean, [9.0, 10.0])


def test_what_is_known_stays_and_bad_input_is_met_at_the_door():
    model, conditional = linear_vae(jax.random.key(0), 4, 2)
    X = jnp.arange(8.0).reshape(2, 4)
    missing = jnp.asarray([[True, False, False, True], [False, False, False, False]])
    chain = impute(jax.random.key(1), model, conditional, X, missing, 3)
    assert chain.shape == (3, 2, 4)
    np.testing.assert_array_equal(chain[:, ~missing], np.broadcast_to(X[~missing], (3, 6)))
    assert not np.any(np.asarray(chain[:, missing]) == np.asarray(X[missing]))
    with pytest.raises(InputError, match="sweeps"):
        impute(jax.random.key(1), model, conditional, X, missing, 0)
    with pytest.raises(InputError, match="not finite"):
        impute(jax.random.key(1), model, conditional, X.at[0, 0].set(jnp.nan), missing)
    with pytest.raises(InputError, match="at least one latent"):
        deep_latent_decoder(jax.random.key(0), (), (), jnp.zeros((5, 1)))
    with pytest.raises(InputError, match="latent dimension"):
        RankOne(0)
