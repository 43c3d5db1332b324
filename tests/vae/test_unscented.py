"""The unscented loss and its Wasserstein term against closed forms; densities of codes; the Frechet distance."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen.core import InputError
from jensen.families import DiagonalGaussian, Gaussian
from jensen.metrics import frechet
from jensen.vae import (
    LatentModel,
    LinearDecoder,
    StandardNormal,
    UnscentedLoss,
    WassersteinLoss,
    ex_post,
    row_target,
    squared_wasserstein,
)
from jensen.vae.likelihoods import gaussian

rng = np.random.default_rng(0)


def test_the_wasserstein_term_is_that_of_coupled_samples():
    """Diagonal: coordinate by coordinate between sorted draws, to two parts in a hundred; full: by a matrix root."""
    q = DiagonalGaussian(jnp.array([0.5, -1.0]), jnp.log(jnp.array([0.3, 1.7])))
    draws = np.sort(np.asarray(q.mean) + np.exp(np.asarray(q.log_scale)) * rng.normal(size=(100_000, 2)), 0)
    coupled = np.mean((draws - np.sort(rng.normal(size=draws.shape), 0)) ** 2, 0).sum()
    assert abs(float(squared_wasserstein(q)) / coupled - 1) < 0.02
    tril = jnp.asarray(np.tril(rng.normal(size=(3, 3))) + np.eye(3))
    full = Gaussian(jnp.asarray(rng.normal(size=3)), tril)
    values, vectors = np.linalg.eigh(np.asarray(tril @ tril.T))
    root = (vectors * np.sqrt(values)) @ vectors.T
    truth = np.sum(np.asarray(full.mean) ** 2) + np.sum((root - np.eye(3)) ** 2)
    np.testing.assert_allclose(squared_wasserstein(full), truth, rtol=1e-10)


def test_of_a_linear_decoder_the_loss_is_that_of_the_mean():
    """Averaged points forget q's spread; roughness is v tr(W S W'); each weight multiplies its term."""
    W = jnp.asarray(rng.normal(size=(5, 2)))
    model = LatentModel(StandardNormal(2), LinearDecoder(W, jnp.ones(5)), gaussian(0.5, trained=False))
    q, x = DiagonalGaussian(jnp.array([0.3, -0.2]), jnp.array([-1.0, 0.1])), jnp.asarray(rng.normal(size=5))
    target, key = row_target(model, x), jax.random.key(0)
    bare = UnscentedLoss(0.0, 0.0).loss(key, q, target).value
    np.testing.assert_allclose(bare, -target.log_likelihood(q.mean), rtol=1e-10)
    held = UnscentedLoss(2.0, 0.0).loss(key, q, target).value
    np.testing.assert_allclose(held - bare, 2 * squared_wasserstein(q), rtol=1e-9)
    rough = UnscentedLoss(0.0, 3.0).loss(key, q, target).value
    np.testing.assert_allclose(rough - bare, 3 * jnp.trace(W @ q.mean_and_cov()[1] @ W.T), rtol=1e-9)
    # errors averaged in place of points: q's spread costs tr(W S W') / (2 sigma^2) more
    apart = WassersteinLoss(2.0).loss(key, q, target).value - held
    np.testing.assert_allclose(apart, 2 * jnp.trace(W @ q.mean_and_cov()[1] @ W.T), rtol=1e-9)


def test_ex_post_is_a_mixture_with_the_moments_of_the_codes():
    model = LatentModel(StandardNormal(2), LinearDecoder(jnp.eye(2), jnp.zeros(2)), gaussian(0.1))
    codes = np.concatenate([rng.normal(size=(200, 2)) - 3, 0.5 * rng.normal(size=(200, 2)) + 3])
    fitted = ex_post(model, codes, components=2)
    mean, cov = fitted.prior.mean_and_cov()
    np.testing.assert_allclose(mean, codes.mean(0), atol=1e-6)
    np.testing.assert_allclose(cov, np.cov(codes, rowvar=False, bias=True), atol=1e-4)
    for bad, words in ((codes[:, :1], "shape"), (codes * np.nan, "finite"), (codes[:1], "components")):
        with pytest.raises(InputError, match=words):
            ex_post(model, bad, components=2)


def test_frechet_is_that_of_the_moments():
    x = rng.normal(size=(500, 3)) @ rng.normal(size=(3, 3))
    np.testing.assert_allclose(frechet(x, x + np.array([1.0, 2.0, 0.0])), 5.0, rtol=1e-6)
    np.testing.assert_allclose(frechet(x, 2 * x), np.sum(x.mean(0) ** 2) + np.trace(np.cov(x, rowvar=False)), rtol=1e-6)
    q = Gaussian(jnp.asarray(x.mean(0)), jnp.linalg.cholesky(jnp.cov(x, rowvar=False)))
    whole = rng.normal(size=(200_000, 3))
    assert abs(frechet(x, whole) - float(squared_wasserstein(q))) < 0.05
    with pytest.raises(InputError, match="two samples"):
        frechet(x, x[:, :2])
