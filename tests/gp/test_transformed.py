import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen.core import InputError
from jensen.gp import Hyperparameters
from jensen.gp.kernels import RBF
from jensen.gp.transformed import transformed_gp

RNG = np.random.default_rng(0)
X, Z = jnp.asarray(RNG.normal(size=(12, 2))), jnp.asarray(RNG.normal(size=(5, 2)))
Y = RNG.integers(3, size=12)


def model():
    gp = transformed_gp(jax.random.key(0), RBF(lengthscale=1.2), Z, 3, width=8)
    new = (jnp.asarray(RNG.normal(size=5)), jnp.asarray(0.3 * RNG.normal(size=(5, 5))))
    wide = 5 * gp.network.layers[-1].weight
    return eqx.tree_at(lambda s: (s.mean, s.scale, s.network.layers[-1].weight), gp, (*new, wide))


def test_quadrature_agrees_with_draws(key):
    gp = model()
    mean, variance = gp.latent(X)
    f = mean[:, None] + jnp.sqrt(variance)[:, None] * jax.random.normal(key, (12, 20_000))
    draws = jax.nn.softmax(gp.logits(f, X))
    error = 5 * jnp.std(draws, 1) / jnp.sqrt(20_000)
    assert jnp.all(jnp.abs(gp.predict(X) - jnp.mean(draws, 1)) < error + 1e-6)
    assert jnp.max(error) < 0.02


def test_the_latent_process_is_that_of_its_inducing_values():
    gp = model()
    root = jnp.linalg.cholesky(gp.kernel(Z, Z) + 1e-10 * jnp.eye(5))
    weights = jnp.linalg.solve(root, gp.kernel(Z, X)).T
    mean, variance = gp.latent(X)
    s = gp.root() @ gp.root().T
    np.testing.assert_allclose(mean, weights @ gp.mean, atol=1e-8)
    left = 1 - jnp.sum(weights**2, 1)
    np.testing.assert_allclose(variance, left + jnp.einsum("ni,ij,nj->n", weights, s, weights), atol=1e-8)
    truth = 0.5 * (jnp.trace(s) + gp.mean @ gp.mean - 5 - jnp.linalg.slogdet(s)[1])
    np.testing.assert_allclose(gp.divergence(), truth, rtol=1e-10)


def test_equal_heads_make_all_classes_equal():
    gp = transformed_gp(jax.random.key(0), RBF(), Z, 3, width=8)
    last = gp.network.layers[-1]
    same = jax.tree.map(jnp.zeros_like, (last.weight, last.bias))
    gp = eqx.tree_at(lambda s: (s.network.layers[-1].weight, s.network.layers[-1].bias), gp, same)
    np.testing.assert_allclose(gp.predict(X), 1 / 3, rtol=1e-12)
    np.testing.assert_allclose(gp.predict(X, alone=True), 1 / 3, rtol=1e-12)


def test_batches_estimate_the_bound_without_bias():
    gp = model()
    halves = [gp.bound(X[rows], Y[rows], num_rows=12) for rows in (slice(0, 6), slice(6, 12))]
    np.testing.assert_allclose(np.mean(halves), gp.bound(X, Y), rtol=1e-10)


def test_every_number_can_be_trained():
    gp = model()
    hyper = Hyperparameters(gp)
    assert len(hyper.names) == 2 + 10 + 5 + 25 + (2 * 8 + 8) + (8 * 12 + 12)
    slope = eqx.filter_jit(jax.grad(lambda theta: hyper.at(theta).bound(X, Y)))(hyper.theta)
    assert jnp.all(jnp.isfinite(slope))


def test_one_class_is_none():
    with pytest.raises(InputError, match="Two classes"):
        transformed_gp(jax.random.key(0), RBF(), Z, 1)
