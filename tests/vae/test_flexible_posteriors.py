"""Flow and implicit posteriors: their densities, what they reach where the truth is known, and the estimator."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jensen.amortised import Encoded
from jensen.core import InputError
from jensen.families import DiagonalGaussian
from jensen.families.bijective import log_standard_normal
from jensen.objectives import NegativeElbo
from jensen.vae import (
    VAE,
    LatentModel,
    LinearDecoder,
    StandardNormal,
    certify_rows,
    flow_posterior,
    implicit_posterior,
    perceptron_encoder,
    row_target,
)
from jensen.vae.likelihoods import Gaussian
from jensen.vae.training import default_objective

D, CORRELATION, NOISE = 3, 0.9, 0.5


def rough(tree, key, size=0.3):
    """With all its numbers moved, so that nothing is at a special value."""
    leaves, where = jax.tree.flatten(eqx.filter(tree, eqx.is_inexact_array))
    keys = jax.random.split(key, len(leaves))
    moved = [a + size * jax.random.normal(k, a.shape, a.dtype) for a, k in zip(leaves, keys, strict=True)]
    return eqx.combine(jax.tree.unflatten(where, moved), tree)


def head_of(make):
    head = make(jax.random.key(0), D)
    return rough(head, jax.random.key(1)), 0.5 * jax.random.normal(jax.random.key(2), (head.context,))


def test_density_of_the_flow_follows_from_its_map():
    head, context = head_of(flow_posterior)

    @eqx.filter_jit
    def both(key):
        q = head.density(context)
        eps = q.noise(key)
        z, log_q = q.from_noise_and_log_prob(eps)
        by_map = log_standard_normal(eps) - jnp.linalg.slogdet(jax.jacfwd(q.from_noise)(eps))[1]
        return log_q, q.log_prob(z), by_map

    for seed in range(5):
        log_q, again, by_map = both(jax.random.key(seed))
        np.testing.assert_allclose([log_q, again], [by_map, by_map], rtol=1e-8)


def test_a_flow_that_does_nothing_is_mean_field():
    head = flow_posterior(jax.random.key(0), D)
    still = jax.tree.map(lambda a: jnp.zeros_like(a) if eqx.is_inexact_array(a) else a, head.flow.flow.networks)
    head = eqx.tree_at(lambda h: h.flow.flow.networks, head, still)
    context = 0.5 * jax.random.normal(jax.random.key(2), (head.context,))
    q, plain, z = (
        head.density(context),
        DiagonalGaussian(context[:D], context[D : 2 * D]),
        jnp.asarray([0.4, -1.0, 2.0]),
    )
    np.testing.assert_allclose(q.log_prob(z), plain.log_prob(z), rtol=1e-6)
    np.testing.assert_allclose(q.mean_and_cov()[0], plain.mean, atol=1e-6)  # mirrored draws have no error in a mean


def test_weights_of_the_implicit_posterior_are_proper():
    """E[p(z) / r] = 1 for a density p; without the term of the draw itself it is more, which this must see."""
    head, context = head_of(lambda key, size: implicit_posterior(key, size, num_auxiliary=2))

    @eqx.filter_jit
    def weights(key):
        q = head.density(context)
        p = DiagonalGaussian(q.mean, q.log_scale - 0.2)

        def one(key):
            mixing, noise = q.noise(key)
            z, log_r = q.from_noise_and_log_prob((mixing, noise))
            x = (z - q.mean) * jnp.exp(-q.log_scale)
            others = q._mixed(x, q._images(mixing[1:]))
            return jnp.exp(p.log_prob(z) - log_r), jnp.exp(p.log_prob(z) - others)

        return jax.vmap(one)(jax.random.split(key, 20_000))

    for seed in range(5):
        proper, wrong = map(np.asarray, weights(jax.random.key(seed)))
        assert abs(proper.mean() - 1) < 5 * proper.std() / np.sqrt(len(proper))
        assert wrong.mean() - 1 > 5 * proper.std() / np.sqrt(len(proper))


@pytest.fixture(scope="module")
def linear():
    """A linear model whose posterior is correlated, rows of it, and their exact log evidence."""
    lower = np.linalg.cholesky(np.linalg.inv([[1.0, CORRELATION], [CORRELATION, 1.0]]) * 4.0 - np.eye(2))
    weight = NOISE * np.vstack([lower.T, np.zeros((2, 2))])  # W^T W / s^2 + I is the posterior's precision
    model = LatentModel(
        StandardNormal(2), LinearDecoder(jnp.asarray(weight), jnp.zeros(4)), Gaussian(jnp.asarray(np.log(NOISE)), False)
    )
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 2)) @ weight.T + NOISE * rng.normal(size=(20, 4))
    cov = weight @ weight.T + NOISE**2 * np.eye(4)
    exact = jax.scipy.stats.multivariate_normal.logpdf(jnp.asarray(X), jnp.zeros(4), jnp.asarray(cov))
    return model, jnp.asarray(X), float(exact.mean())


def fitted_gap(make, linear, steps=1500):
    """(exact evidence less the bound, its standard error) of a q trained alone."""
    model, X, exact = linear
    head = make(jax.random.key(0), 2)
    encoder = perceptron_encoder(jax.random.key(1), jnp.zeros(4), jnp.ones(4), (), head.context)
    trainable, rest = eqx.partition(Encoded(encoder, head), eqx.is_inexact_array)
    objective = default_objective(model, Encoded(encoder, head), X[0])
    assert isinstance(objective, NegativeElbo)
    adam = optax.adam(optax.cosine_decay_schedule(1e-2, steps))

    @jax.jit
    def trained(trainable):
        def loss(trainable, key):
            q = eqx.combine(trainable, rest)
            one = lambda k, x: objective.loss(k, q.given(x), row_target(model, x)).surrogate  # noqa: E731
            return jnp.mean(jax.vmap(one)(jax.random.split(key, len(X)), X))

        def step(carry, key):
            trainable, state = carry
            updates, state = adam.update(jax.grad(loss)(trainable, key), state)
            return (optax.apply_updates(trainable, updates), state), None

        keys = jax.random.split(jax.random.key(2), steps)
        return jax.lax.scan(step, (trainable, adam.init(trainable)), keys)[0][0]

    found = certify_rows(jax.random.key(3), model, eqx.combine(trained(trainable), rest), X, 400)
    return exact - float(found.elbo.mean()), found.certificate.elbo_standard_error / len(X)


MEAN_FIELD = -0.5 * np.log(1 - CORRELATION**2)  # KL of the best diagonal Gaussian from the exact posterior: .83 nats


@pytest.mark.optimised
def test_the_flow_reaches_the_exact_evidence(linear):
    gap, error = fitted_gap(flow_posterior, linear)
    assert -5 * error < gap < 0.1 * MEAN_FIELD


@pytest.mark.optimised
def test_the_implicit_bound_is_one_and_beats_mean_field(linear):
    gap, error = fitted_gap(implicit_posterior, linear)
    assert -5 * error < gap < 0.5 * MEAN_FIELD


@pytest.mark.parametrize("posterior", ["flow", "implicit"])
def test_estimator(posterior, tmp_path):
    X = np.random.default_rng(0).normal(size=(60, 2)) @ np.ones((2, 3)) + np.random.default_rng(1).normal(size=(60, 3))
    vae = VAE(2, posterior=posterior, hidden=(8,), epochs=3, random_state=0, num_draws=10).fit(X)
    codes = vae.transform(X[:5])
    assert codes.shape == (5, 2)
    np.testing.assert_array_equal(codes[:2], vae.transform(X[:2]))
    again = VAE.load(vae.save(tmp_path / "vae.npz"))
    np.testing.assert_array_equal(again.transform(X[:5]), codes)
    np.testing.assert_array_equal(again.score_samples(X[:5]), vae.score_samples(X[:5]))


def test_refusals():
    with pytest.raises(InputError, match="vamp prior is made of densities"):
        VAE(2, posterior="implicit", prior="vamp", epochs=1).fit(np.random.default_rng(0).normal(size=(30, 3)))
    with pytest.raises(InputError, match="num_auxiliary must be at least 1"):
        implicit_posterior(jax.random.key(0), 2, 0)
    with pytest.raises(InputError, match="latent dimension must be at least 1"):
        implicit_posterior(jax.random.key(0), 0)


def test_a_vamp_prior_of_flows_is_the_mixture_of_their_densities_and_has_mass_one(tmp_path):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 2)) @ rng.normal(size=(2, 3)) + 0.1 * rng.normal(size=(60, 3))
    settings = dict(hidden=(8,), posterior="flow", prior="vamp", num_components=3, epochs=2, batch_size=30)
    vae = VAE(2, **settings, random_state=0).fit(X)
    prior = vae.model_.prior

    @eqx.filter_jit
    def both(conditional, prior, z):
        given = eqx.filter_vmap(lambda u: conditional.given(u).log_prob(z))(prior.inputs)
        return jnp.log(jnp.mean(jnp.exp(given))), prior.log_prob(z)

    for z in 0.5 * rng.normal(size=(5, 2)):
        np.testing.assert_allclose(*both(vae.conditional_, prior, jnp.asarray(z)), rtol=1e-6)

    # the integral of another density, by draws of the prior: one only if draws and density belong together
    @eqx.filter_jit
    def ratios(prior, keys):
        drawn = jax.vmap(prior.sample)(keys)
        mean, spread = jnp.mean(drawn, 0), 0.5 * jnp.std(drawn, 0)
        other = jax.vmap(lambda z: jnp.sum(jax.scipy.stats.norm.logpdf(z, mean, spread)))(drawn)
        return jnp.exp(other - jax.vmap(prior.log_prob)(drawn))

    for seed in range(5):
        found = np.asarray(ratios(prior, jax.random.split(jax.random.key(seed), 4000)))
        assert abs(found.mean() - 1) < 5 * found.std() / np.sqrt(len(found))
    vae.save(tmp_path / "flows.npz")
    np.testing.assert_array_equal(VAE.load(tmp_path / "flows.npz").score_samples(X[:5]), vae.score_samples(X[:5]))
