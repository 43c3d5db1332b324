"""Gradient origin networks against the linear one, whose optimum is known, and against finite differences."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from jensen.amortised import Encoded
from jensen.vae import (
    LatentModel,
    LinearDecoder,
    MeanField,
    NoEncoder,
    OriginElbo,
    OriginEncoded,
    OriginLikelihood,
    RegularisedLikelihood,
    SampledLikelihoodElbo,
    SharedScale,
    StandardNormal,
    origin_context,
    origin_latents,
    perceptron_decoder,
    row_target,
)
from jensen.vae.likelihoods import gaussian

ROOT_HALF = float(np.sqrt(0.5))  # the noise scale at which -log p is the squared error


def model_of(decoder, k):
    return LatentModel(StandardNormal(k), decoder, gaussian(ROOT_HALF, trained=False))


def curved(k=2, n=5):
    start = jnp.linspace(-0.5, 0.5, n)[:, None]
    return model_of(perceptron_decoder(jax.random.key(0), k, (7,), start), k)


def test_of_a_linear_decoder_the_latents_are_two_w_x_and_the_loss_that_of_the_projector():
    """W with orthonormal columns over root two reconstructs by their projector: the loss is the discarded part."""
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(6, 2)))[0]
    model = model_of(LinearDecoder(jnp.asarray(ROOT_HALF * basis), jnp.zeros(6)), 2)
    X = jnp.asarray(rng.normal(size=(4, 6)))
    z = eqx.filter_jit(jax.vmap(lambda x: origin_latents(row_target(model, x))))(X)
    np.testing.assert_allclose(z, 2 * X @ (ROOT_HALF * basis), rtol=1e-9)
    loss = OriginLikelihood().losses(jax.random.key(0), NoEncoder(2), X, lambda x: row_target(model, x), 4)
    left = np.sum((X - X @ basis @ basis.T) ** 2, 1)
    np.testing.assert_allclose(loss.value, left + 3 * np.log(np.pi), rtol=1e-9)  # the density's own constant


def test_a_row_is_encoded_by_itself_and_differentiably():
    """The same latents in a batch of one and of sixty-four; d loss / d weights against central differences."""
    model, rng = curved(), np.random.default_rng(1)
    X = jnp.asarray(rng.normal(size=(64, 5)))

    @eqx.filter_jit
    def losses(decoder, rows):
        held = eqx.tree_at(lambda m: m.decoder, model, decoder)
        return OriginLikelihood().losses(jax.random.key(0), NoEncoder(2), rows, lambda x: row_target(held, x), 64).value

    many, one = losses(model.decoder, X), losses(model.decoder, X[:1])
    np.testing.assert_allclose(many[:1], one, rtol=1e-12)
    flat, back = ravel_pytree(eqx.filter(model.decoder, eqx.is_inexact_array))
    rest = eqx.filter(model.decoder, eqx.is_inexact_array, inverse=True)

    def total(flat):
        return jnp.sum(losses(eqx.combine(back(flat), rest), X[:8]))

    gradient, direction = eqx.filter_jit(jax.grad(total))(flat), jnp.asarray(rng.normal(size=flat.shape))
    slope = (total(flat + 1e-5 * direction) - total(flat - 1e-5 * direction)) / 2e-5
    np.testing.assert_allclose(gradient @ direction, slope, rtol=1e-6)


def test_the_variational_one_is_the_elbo_at_the_gradient_and_stays_so_afterwards():
    """q(h) = N(A h + a, diag s^2): for a linear decoder h = A^T (2 W^T (x - W a) - a) by hand."""
    rng = np.random.default_rng(2)
    A, a, W = rng.normal(size=(2, 3)), rng.normal(size=2), rng.normal(size=(6, 2))
    encoder = SharedScale(jnp.asarray(A), jnp.asarray(a), jnp.asarray([-1.0, -0.5]))
    conditional = Encoded(encoder, MeanField(2))
    model = model_of(LinearDecoder(jnp.asarray(W), jnp.zeros(6)), 2)
    x, key = jnp.asarray(rng.normal(size=6)), jax.random.key(3)
    target = row_target(model, x)
    h = origin_context(target, conditional, 3, 0.5)
    np.testing.assert_allclose(h, 0.5 * A.T @ (2 * W.T @ (np.asarray(x) - W @ a) - a), rtol=1e-9)
    losses = OriginElbo(3, step=0.5).losses(key, conditional, x[None], lambda x: row_target(model, x), 1)
    after = OriginEncoded(model, conditional, 3, 0.5)
    direct = SampledLikelihoodElbo().loss(jax.random.split(key, 1)[0], after.given(x), target)
    np.testing.assert_allclose(losses.value[0], direct.value, rtol=1e-12)
    assert after.dimension == 2


def test_the_regularised_likelihood_is_that_of_the_mean_and_its_length():
    model, x = curved(), jnp.linspace(-1, 1, 5)
    q = MeanField(2).density(jnp.array([0.5, -1.0, 0.1, 0.2]))
    target = row_target(model, x)
    value = RegularisedLikelihood(0.3).loss(jax.random.key(0), q, target).value
    np.testing.assert_allclose(value, 0.15 * 1.25 - target.log_likelihood(q.mean), rtol=1e-12)
