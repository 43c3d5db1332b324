import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from jensen._numerics.total_variation import soft_threshold, tv_prox
from jensen.core import InputError
from jensen.gp.contraction import Factors, tensor_regression


def fused(y, tv, l1):
    """The joint proximal map by linear-constrained quadratic programming, a generic solver."""
    n = len(y)
    d = np.diff(np.eye(n), axis=0)
    # x = y - D^T u - v with |u| <= tv, |v| <= l1: the dual is a box-constrained least squares
    found = scipy.optimize.lsq_linear(
        np.hstack([d.T, np.eye(n)]),
        y,
        (np.r_[-tv - np.zeros(n - 1), -l1 - np.zeros(n)], np.r_[tv + np.zeros(n - 1), l1 + np.zeros(n)]),
        tol=1e-14,
        max_iter=5000,
    )
    return y - np.hstack([d.T, np.eye(n)]) @ found.x


@pytest.mark.parametrize("weight", [0.01, 0.5, 20.0])
@pytest.mark.parametrize("l1", [1e-12, 0.3])
def test_the_proximal_maps_equal_a_generic_solver(weight, l1):
    for seed in range(3):
        y = np.random.default_rng(seed).normal(size=25)
        found = soft_threshold(tv_prox(jnp.asarray(y), weight), l1)
        np.testing.assert_allclose(found, fused(y, weight, l1), atol=1e-6)
    np.testing.assert_array_equal(tv_prox(jnp.asarray([2.0]), 1.0), [2.0])


def factors(key=0):
    rng = np.random.default_rng(key)
    parts = [jnp.asarray(rng.normal(size=s)) for s in ((2, 6), (3, 5), (2, 2), (3, 3), (2, 2))]
    return Factors(parts[0], parts[1], (parts[2], parts[3], parts[4]), jnp.zeros(()))


def test_features_are_those_of_the_dense_kronecker_kernel():
    f = factors()
    x = np.random.default_rng(1).normal(size=(4, 6, 5, 2))
    u = [np.sqrt(len(v)) * np.asarray(v) / np.linalg.norm(v) for v in f.sides]
    k = [m.T @ m for m in u]
    z = np.einsum("nijc,ai,bj->ncba", x, f.rows, f.columns).reshape(4, -1)
    dense = z @ np.kron(k[2], np.kron(k[1], k[0])) @ z.T
    features = np.asarray(f.features(jnp.asarray(x)))
    np.testing.assert_allclose(features @ features.T, dense, rtol=1e-10, atol=1e-10)


def test_penalty_is_the_total_variation_of_all_feature_maps():
    f = factors()
    total = 0.0
    for a in np.asarray(f.rows):
        for b in np.asarray(f.columns):
            image = np.outer(a, b)
            total += np.abs(np.diff(image, axis=0)).sum() + np.abs(np.diff(image, axis=1)).sum()
    np.testing.assert_allclose(f.penalty(), total, rtol=1e-12)


def test_the_objective_falls_and_the_signal_is_found():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 8, 8, 2))
    y = 3 + x[:, 2:5, 2:5, 0].mean((1, 2)) - x[:, 2:5, 5:8, 1].mean((1, 2)) + 0.02 * rng.normal(size=60)
    fit = tensor_regression(jax.random.key(0), x[:40], y[:40], contracted=(1, 2), penalty=0.5, sweeps=150, starts=2)
    assert np.all(np.diff(fit.objective) <= 1e-9 * np.abs(fit.objective[:-1]))
    np.testing.assert_allclose(jnp.sum(fit.factors.rows**2), 1.0)
    error = np.sqrt(np.mean((fit.mean(jnp.asarray(x[40:])) - y[40:]) ** 2))
    assert error < 0.3 * y.std()
    assert bool(jnp.all(fit.variance(jnp.asarray(x[40:])) >= 0))


def test_clear_errors():
    x, y = np.zeros((5, 4, 4, 1)), np.arange(5.0)
    key = jax.random.key(0)
    cases = {
        "images": lambda: tensor_regression(key, x[0], y, contracted=(1, 1)),
        "NaN": lambda: tensor_regression(key, x + np.nan, y, contracted=(1, 1)),
        "contracted": lambda: tensor_regression(key, x, y, contracted=(5, 1)),
        "penalty": lambda: tensor_regression(key, x, y, contracted=(1, 1), penalty=-1.0),
        "constant": lambda: tensor_regression(key, x, 0 * y, contracted=(1, 1)),
    }
    for words, attempt in cases.items():
        with pytest.raises(InputError, match=words):
            attempt()
