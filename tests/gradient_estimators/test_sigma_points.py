"""Sigma points against closed forms: exact up to the third degree, pairs on average."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen.core import InputError
from jensen.families import DiagonalGaussian, Gaussian, GaussianMixture
from jensen.gradient_estimators import SigmaPairs, SigmaPoints, sigma_points

rng = np.random.default_rng(0)
D = 3
Q = jnp.asarray(rng.normal(size=(D, D)))
C = jnp.asarray(rng.normal(size=D))
FULL = Gaussian(jnp.asarray(rng.normal(size=D)), jnp.asarray(np.tril(rng.normal(size=(D, D))) + 2 * np.eye(D)))
FLAT = DiagonalGaussian(FULL.mean, jnp.asarray(rng.normal(size=D)))


def cubic(q, z):
    return z @ Q @ z + (C @ z) ** 3


def exact(q):
    """E[z' Q z] = m' Q m + tr(Q S); E[(c'z)^3] = u^3 + 3 u v, u = c'm, v = c'S c."""
    mean, cov = q.mean_and_cov()
    u, v = C @ mean, C @ cov @ C
    return mean @ Q @ mean + jnp.trace(Q @ cov) + u**3 + 3 * u * v


@eqx.filter_jit
def value_and_gradient(estimator, key, q):
    gradient = eqx.filter_grad(lambda q: estimator.expectation(key, q, cubic).surrogate)(q)
    return estimator.expectation(key, q, cubic).value, gradient


@pytest.mark.parametrize("q", [FULL, FLAT], ids=["full", "diagonal"])
def test_cubics_are_exact_value_and_gradient(q):
    """At any kappa; points from the rows of L, in place of its columns, are not."""
    truth, slopes = exact(q), eqx.filter_jit(eqx.filter_grad(exact))(q)
    for kappa in (0.0, 0.5, 3.0 - D):
        value, gradient = value_and_gradient(SigmaPoints(kappa), jax.random.key(0), q)
        np.testing.assert_allclose(value, truth, rtol=1e-10)
        np.testing.assert_allclose(gradient.mean, slopes.mean, rtol=1e-8)
        spread, exact_spread = (jax.tree.leaves(g)[1] for g in (gradient, slopes))
        np.testing.assert_allclose(spread, exact_spread, rtol=1e-8, atol=1e-8)
    wrong = eqx.tree_at(lambda q: q.scale_tril, FULL, jnp.linalg.cholesky(FULL.scale_tril.T @ FULL.scale_tril))
    assert abs(exact(wrong) - exact(FULL)) > 0.1


def test_points_have_the_moments_of_the_standard_normal():
    points, weights = sigma_points(4, 0.7)
    np.testing.assert_allclose(weights.sum(), 1.0)
    np.testing.assert_allclose((points.T * weights) @ points, np.eye(4), atol=1e-12)
    # with kappa = 3 - d the fourth moments along the axes are three
    points, weights = sigma_points(2, 1.0)
    np.testing.assert_allclose(weights @ points**4, 3.0)


@pytest.mark.filterwarnings("error")
def test_points_have_the_precision_of_their_use_and_not_of_where_kappa_was_made():
    kappa = SigmaPoints(kappa=0.5).kappa
    assert kappa.dtype == jnp.float64
    with jax.enable_x64(False):
        points, weights = sigma_points(2, kappa)
    assert points.dtype == weights.dtype == jnp.float32
    np.testing.assert_allclose(weights, np.array([0.5, 0.5, 0.5, 0.5, 0.5]) / 2.5, rtol=1e-6)


def test_pairs_are_sigma_points_on_average_and_less_noisy_than_draws():
    """Over all axes by hand: the mean of pairs at each is the rule at kappa zero, to five standard errors."""
    keys = jax.random.split(jax.random.key(1), 20_000)
    values = jax.jit(jax.vmap(lambda k: SigmaPairs(2).expectation(k, FULL, cubic).value))(keys)
    error = values.std() / np.sqrt(len(values))
    assert abs(values.mean() - exact(FULL)) < 5 * error
    assert 5 * error < 0.1 * abs(exact(FULL))


def test_bad_input():
    mixture = GaussianMixture(jnp.zeros(1), jnp.zeros((1, 2)), jnp.eye(2)[None])
    with pytest.raises(InputError, match="Gaussian families alone"):
        SigmaPoints().expectation(jax.random.key(0), mixture, cubic)
    with pytest.raises(InputError, match="kappa"):
        SigmaPoints(-4.0).expectation(jax.random.key(0), FULL, cubic)
    with pytest.raises(InputError, match="num_draws"):
        SigmaPairs(0)
