"""Stationary kernels: values by formula, derivatives at coincident inputs, matrices as loops over pairs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen.gp.kernels import RBF, Matern12, Matern32, Matern52, Periodic, RationalQuadratic

CORRELATIONS = {
    RBF: lambda r: np.exp(-0.5 * r**2),
    Matern12: lambda r: np.exp(-r),
    Matern32: lambda r: (1 + np.sqrt(3) * r) * np.exp(-np.sqrt(3) * r),
    Matern52: lambda r: (1 + np.sqrt(5) * r + 5 * r**2 / 3) * np.exp(-np.sqrt(5) * r),
    RationalQuadratic: lambda r: 1 / (1 + r**2 / 2),
}


@pytest.fixture(autouse=True)
def _double():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("kind", CORRELATIONS)
def test_matrices_are_the_formula_of_scaled_distances(kind):
    rng = np.random.default_rng(0)
    a, b, scale = rng.normal(size=(4, 2)), rng.normal(size=(3, 2)), np.array([0.5, 2.0])
    k = kind(scale, 1.7)
    r = np.linalg.norm((a[:, None] - b) / scale, axis=-1)
    np.testing.assert_allclose(k(a, b), 1.7 * CORRELATIONS[kind](r), atol=1e-12)
    one_by_one = jax.vmap(lambda x: jax.vmap(lambda y: k.evaluate(x, y))(jnp.asarray(b)))(jnp.asarray(a))
    np.testing.assert_allclose(k(a, b), one_by_one, atol=1e-12)
    np.testing.assert_allclose(k(a), 1.7)


@pytest.mark.parametrize(("kind", "curvature"), [(RBF, 1.0), (Matern32, 3.0), (Matern52, 5 / 3)])
def test_the_variance_of_the_slope_is_that_of_the_formula(kind, curvature):
    """cov(f'(x), f'(x)) = d2 k / dx dx' at x = x', which is variance times curvature over lengthscale squared."""
    k = kind(0.7, 1.3)
    mixed = jax.jacfwd(jax.grad(lambda a, b: k.evaluate(a[None], b[None]), 0), 1)
    expected = 1.3 * curvature / 0.7**2
    for x in (0.0, 0.4):
        assert float(mixed(jnp.asarray(x), jnp.asarray(x))) == pytest.approx(expected, rel=1e-9)
    # and beside: differences of first derivatives
    slope = jax.grad(lambda a, b: k.evaluate(a[None], b[None]), 0)
    step = 1e-5
    numeric = (slope(jnp.asarray(0.3), jnp.asarray(0.1 + step)) - slope(jnp.asarray(0.3), jnp.asarray(0.1 - step))) / (
        2 * step
    )
    assert float(mixed(jnp.asarray(0.3), jnp.asarray(0.1))) == pytest.approx(float(numeric), rel=1e-6)


def test_fourth_derivative_of_the_smoother_matern():
    """d4 rho / dr4 of Matern-5/2 at 0 is 25: exists, and is right."""
    k = Matern52(1.0, 1.0)
    f = lambda r: k.evaluate(jnp.zeros(1), r[None])  # noqa: E731
    fourth = jax.grad(jax.grad(jax.grad(jax.grad(f))))
    assert float(fourth(jnp.asarray(1e-6))) == pytest.approx(25.0, rel=1e-3)


def test_gradients_are_finite_at_coincident_inputs():
    for kind in CORRELATIONS:
        x = jnp.zeros((3, 1))
        slopes = jax.grad(lambda k, x=x: jnp.sum(k(x, x)))(kind(0.5, 2.0))
        assert np.all(np.isfinite(slopes.lengthscale))
        assert float(slopes.variance) == pytest.approx(9.0)


def test_periodic_repeats():
    k = Periodic(0.8, 1.5, 2.0)
    assert float(k(np.array([[0.2]]), np.array([[1.7]]))[0, 0]) == pytest.approx(2.0)
    at = float(k(np.array([[0.0]]), np.array([[0.5]]))[0, 0])
    assert at == pytest.approx(2 * np.exp(-2 * np.sin(np.pi / 3) ** 2 / 0.64))


@pytest.mark.parametrize(("kind", "d"), [(Matern12, 1), (Matern12, 3), (Matern32, 1), (RBF, 1)])
def test_a_thousand_lengthscales_drown_no_small_distance(kind, d):
    """Products of inputs would leave r^2 of coincident ones at 1e6 eps: 1e-5 in r, and in a kernel with a cusp."""
    x = np.random.default_rng(0).uniform(0, 1000, (8, d))
    near = x + 1e-6
    k, r = kind(1.0), 1e-6 * np.sqrt(d)
    np.testing.assert_array_equal(np.diag(k(x, x)), 1.0)
    np.testing.assert_allclose(1 - np.diag(k(x, near)), 1 - CORRELATIONS[kind](r), rtol=1e-3, atol=1e-15)


def test_derivatives_of_a_matrix_are_those_of_its_pairs():
    """In inputs of both sides and lengthscales, backwards and forwards: distances have a rule of their own."""
    rng = np.random.default_rng(1)
    a, b, scale = rng.normal(size=(4, 3)), rng.normal(size=(5, 3)), np.array([0.5, 2.0, 1.0])
    weights = jnp.asarray(rng.normal(size=(4, 5)))

    def by_matrix(a, b, scale):
        return jnp.sum(weights * Matern52(scale, 1.7)(a, b))

    def by_pairs(a, b, scale):
        k = Matern52(scale, 1.7)
        return jnp.sum(weights * jax.vmap(lambda x: jax.vmap(lambda y: k.evaluate(x, y))(b))(a))

    args = (jnp.asarray(a), jnp.asarray(b), jnp.asarray(scale))
    found, truth = (jax.jit(jax.grad(f, (0, 1, 2)))(*args) for f in (by_matrix, by_pairs))
    for one, other in zip(found, truth, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)
    found, truth = (jax.jit(jax.hessian(f, 2))(*args) for f in (by_matrix, by_pairs))
    np.testing.assert_allclose(found, truth, atol=1e-11)
