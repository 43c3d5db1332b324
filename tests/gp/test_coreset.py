import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jensen.algorithms import CVI
from jensen.core import InputError, Sites, divergence
from jensen.gp import Hyperparameters, LatentModel
from jensen.gp.coreset import TemperedCoreset, coreset_of
from jensen.gp.kernels import Matern52
from jensen.gp.likelihoods import BernoulliLogit, Gaussian
from jensen.gp.priors import Dense, Inducing

KERNEL, NOISE = Matern52(lengthscale=0.8, variance=1.5), 0.2
RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.uniform(-2, 2, size=(30, 1)))
Y = jnp.sin(3 * X[:, 0]) + jnp.sqrt(NOISE) * jnp.asarray(RNG.normal(size=30))


def test_all_rows_as_a_coreset_are_the_exact_process():
    whole = TemperedCoreset(X, Y, jnp.ones(30))
    total = KERNEL(X, X) + NOISE * jnp.eye(30)
    truth = scipy.stats.multivariate_normal(np.zeros(30), total).logpdf(Y)
    np.testing.assert_allclose(whole.bound(KERNEL, Gaussian(NOISE), NOISE, X, Y), truth, rtol=1e-10)
    new = jnp.linspace(-3, 3, 7)[:, None]
    mean, variance = whole.predict(KERNEL, NOISE, new)
    across = KERNEL(X, new)
    np.testing.assert_allclose(mean, across.T @ jnp.linalg.solve(total, Y), atol=1e-10)
    left = 1.5 - jnp.sum(across * jnp.linalg.solve(total, across), 0)
    np.testing.assert_allclose(variance, left, atol=1e-10)


def test_it_is_the_prior_at_its_inputs_with_weighted_sites():
    coreset = TemperedCoreset(X[:5], Y[:5], jnp.array([0.5, 2.0, 7.0, 1.0, 3.0]))
    sites = Sites((coreset.weights * coreset.targets / NOISE)[:, None], (coreset.weights / NOISE)[:, None, None])
    prior = Dense(KERNEL, X[:5])
    mean, cov = prior.predict(sites, X)
    for a, b in zip(coreset.predict(KERNEL, NOISE, X), (mean[:, 0], cov[:, 0, 0]), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-8)
    truth = divergence(sites, prior.condition(sites))
    np.testing.assert_allclose(coreset.divergence(KERNEL, NOISE), truth, atol=1e-7)


def test_the_bound_is_at_most_that_of_the_best_posterior_at_its_inputs():
    coreset = coreset_of(X, Y, 8)
    model = LatentModel(Inducing(KERNEL, X, coreset.z), Gaussian(NOISE), Y)
    sites = Sites(Y[:, None] / NOISE, jnp.full((30, 1, 1), 1 / NOISE))
    best = CVI().log_evidence(sites, model.prior.condition(sites), model)
    found = coreset.bound(KERNEL, Gaussian(NOISE), NOISE, X, Y)
    assert found < best
    assert found > best - 10


def test_a_batch_estimates_the_bound_without_bias():
    coreset = coreset_of(X, Y > 0, 6)
    whole = coreset.bound(KERNEL, BernoulliLogit(), 1.0, X, (Y > 0) * 1.0)
    halves = [
        coreset.bound(KERNEL, BernoulliLogit(), 1.0, X[rows], (Y[rows] > 0) * 1.0, num_rows=30)
        for rows in (jnp.arange(15), jnp.arange(15, 30))
    ]
    np.testing.assert_allclose(jnp.mean(jnp.array(halves)), whole, rtol=1e-10)


def test_its_numbers_are_hyperparameters():
    coreset = coreset_of(X, Y, 4)
    hyper = Hyperparameters(coreset)
    assert hyper.theta.shape == (4 * (1 + 2),)
    for a, b in zip(jax.tree.leaves(hyper.at(hyper.theta)), jax.tree.leaves(coreset), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    assert float(jnp.sum(coreset.weights)) == 30


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="Between 1 and 30"):
        coreset_of(X, Y, 31)
    with pytest.raises(InputError, match="finite"):
        coreset_of(X, Y.at[0].set(jnp.nan), 3)
