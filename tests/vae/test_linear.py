"""The linear variational autoencoder against probabilistic principal components, exactly."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen.algorithms import AmortisedVI
from jensen.core import InputError, PointPosterior
from jensen.gradient_estimators import DoublyReparameterised
from jensen.objectives import ImportanceWeighted, NegativeElbo
from jensen.vae import (
    ClosedGaussianElbo,
    LatentModel,
    SampledLikelihoodElbo,
    StandardNormal,
    fit_linear,
    latent_rows,
    linear_vae,
    log_likelihood_bound,
    posterior_collapse,
    probabilistic_pca,
    row_target,
)
from jensen.vae.likelihoods import Bernoulli, Gaussian

COLUMNS, K, ROWS = 6, 2, 200


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    weight = 1.5 * rng.normal(size=(COLUMNS, K)) / (1 + np.arange(K))
    return rng.normal(size=(ROWS, K)) @ weight.T + np.sqrt(0.5) * rng.normal(size=(ROWS, COLUMNS))


@pytest.fixture(scope="module")
def fitted(X):
    return fit_linear(*linear_vae(jax.random.key(1), COLUMNS, K), X)


def test_the_evidence_of_probabilistic_pca_is_the_mean_log_density_of_its_rows(X):
    truth = probabilistic_pca(X, K)
    rows = jax.vmap(truth.log_prob)(jnp.asarray(X))
    np.testing.assert_allclose(jnp.mean(rows), truth.log_evidence, rtol=1e-12)
    # a maximum: no other noise or weight does better
    for factor in (0.9, 1.1):
        other = eqx.tree_at(lambda p: p.noise, truth, factor * truth.noise)
        assert jnp.mean(jax.vmap(other.log_prob)(jnp.asarray(X))) < truth.log_evidence
        other = eqx.tree_at(lambda p: p.weight, truth, factor * truth.weight)
        assert jnp.mean(jax.vmap(other.log_prob)(jnp.asarray(X))) < truth.log_evidence


def test_a_linear_vae_is_probabilistic_pca(X, fitted):
    """Evidence, noise, loadings up to sign and order, and the variances of q, all to 1e-4 or better."""
    model, conditional, bound = fitted
    truth = probabilistic_pca(X, K)
    assert abs(bound - truth.log_evidence) < 1e-6
    assert abs(np.exp(2 * float(model.likelihood.log_scale)) - float(truth.noise)) < 1e-5
    w, v = np.asarray(model.decoder.weight), np.asarray(truth.weight)
    np.testing.assert_allclose(w @ w.T, v @ v.T, atol=1e-4)
    np.testing.assert_allclose(model.decoder.bias, truth.mean, atol=1e-4)
    means, covs = jax.vmap(lambda x: conditional.given(x).mean_and_cov())(jnp.asarray(X))
    variances = np.diagonal(covs[0])
    shrunk = float(truth.noise) / np.asarray(truth.eigenvalues[:K])
    np.testing.assert_allclose(np.sort(variances), np.sort(shrunk), atol=1e-4)
    np.testing.assert_allclose(np.var(means, 0) + variances, 1.0, atol=1e-3)


def test_importance_weighted_bounds_rise_to_the_exact_evidence(X, fitted):
    """With a q that is too wide: ELBO < IWAE-10 < IWAE-1000 < evidence + 5 errors, the last within 0.02 nats."""
    model, conditional, _ = fitted
    truth = jax.vmap(probabilistic_pca(X, K).log_prob)(jnp.asarray(X))
    wide = eqx.tree_at(lambda c: c.encoder.rest, conditional, conditional.encoder.rest + 0.4)
    keys = jax.random.split(jax.random.key(2), 100)
    means, errors = [], []
    for draws, num in ((1, 100), (10, 100), (1000, 8)):
        # the error over keys: all rows of a call share their draws
        runs = [float(jnp.mean(log_likelihood_bound(k, model, wide, jnp.asarray(X), draws))) for k in keys[:num]]
        means.append(np.mean(runs))
        errors.append(np.std(runs, ddof=1) / np.sqrt(len(runs)))
    evidence = float(jnp.mean(truth))
    assert means[0] + 3 * errors[0] < means[1] - 3 * errors[1]
    assert means[1] < means[2] + 3 * errors[2]
    assert abs(means[2] - evidence) < 5 * errors[2] + 0.01
    assert 5 * errors[2] < 0.05
    # where q is the posterior, one draw is enough: the weight is constant
    exactly = log_likelihood_bound(keys[0], model, conditional, jnp.asarray(X), 1)
    np.testing.assert_allclose(exactly, truth, atol=1e-2)


def test_collapse_follows_the_closed_form(X):
    """Squared singular values of the decoder at fixed noise: max(0, eigenvalue - beta noise)."""
    truth = probabilistic_pca(X, K)
    noise = 0.5 * float(truth.eigenvalues[0] + truth.eigenvalues[1])  # the second unit must collapse, the first not
    for weight in (0.5, 1.0):
        model, conditional = linear_vae(jax.random.key(3), COLUMNS, K, scale=np.sqrt(noise))
        model = eqx.tree_at(lambda m: m.likelihood, model, Gaussian(jnp.asarray(0.5 * np.log(noise)), False))
        model, conditional, _ = fit_linear(model, conditional, X, weight)
        found = np.linalg.svd(np.asarray(model.decoder.weight), compute_uv=False) ** 2
        np.testing.assert_allclose(found, posterior_collapse(truth.eigenvalues[:K], noise, weight), atol=1e-3)


def test_the_closed_elbo_is_the_mean_of_the_sampled_one(X):
    model, conditional = linear_vae(jax.random.key(4), COLUMNS, K, full_rank=True)
    x = jnp.asarray(X[0])
    q, target = conditional.given(x), row_target(model, x)
    keys = jax.random.split(jax.random.key(5), 20_000)
    closed = ClosedGaussianElbo().loss(keys[0], q, target).value
    for objective in (SampledLikelihoodElbo(), NegativeElbo()):
        values = jax.jit(jax.vmap(lambda k, o=objective: o.loss(k, q, target).value))(keys)
        error = float(jnp.std(values)) / np.sqrt(len(keys))
        assert abs(float(jnp.mean(values)) - float(closed)) < 5 * error
        assert 5 * error < 0.05 * abs(float(closed))


def test_the_gradient_of_all_rows_has_no_bias_for_any_estimator(X):
    """By doubly reparameterised draws too, whose surrogate alone is wrong for the decoder: means agree."""
    model, conditional = linear_vae(jax.random.key(6), COLUMNS, K)
    target = latent_rows(model, jnp.asarray(X[:4]))
    keys = jax.random.split(jax.random.key(7), 20_000)
    plain = ImportanceWeighted(num_weights=4)
    doubly = ImportanceWeighted(num_weights=4, estimator=DoublyReparameterised(num_draws=4))

    def gradients(objective):
        algorithm = AmortisedVI(conditional, objective)
        surrogate = lambda z, key: algorithm.estimate(key, z, conditional, target).surrogate  # noqa: E731
        return jax.jit(jax.vmap(lambda k: jax.grad(surrogate)(target.theta, k)))(keys)

    a, b = gradients(plain), gradients(doubly)
    error = np.sqrt((np.var(a, 0) + np.var(b, 0)) / len(keys))
    assert np.all(np.abs(np.mean(a, 0) - np.mean(b, 0)) < 5 * error + 1e-12)
    assert np.all(5 * error < 0.1 * np.max(np.abs(np.mean(a, 0))))


def test_bad_input_is_met_at_the_door(X):
    with pytest.raises(InputError, match="1 <= k < columns"):
        probabilistic_pca(X, COLUMNS)
    with pytest.raises(InputError, match="rank"):
        probabilistic_pca(np.outer(np.arange(5.0), np.ones(3)), 1)
    with pytest.raises(InputError, match="latent dimension"):
        StandardNormal(0)
    model, conditional = linear_vae(jax.random.key(0), COLUMNS, K)
    other = LatentModel(model.prior, model.decoder, Bernoulli())
    q = conditional.given(jnp.asarray(X[0]))
    with pytest.raises(InputError, match="LinearDecoder"):
        ClosedGaussianElbo().loss(jax.random.key(0), q, row_target(other, jnp.asarray(X[0])))
    target = latent_rows(model, jnp.asarray(X))
    assert PointPosterior(target.space, target.theta).z.shape == (COLUMNS * (K + 1) + 1,)
