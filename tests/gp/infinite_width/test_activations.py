"""Expectations under Gaussians against dense quadrature, and their derivatives against each other."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen.core import InputError
from jensen.gp.infinite_width import Erf, Heaviside, Linear, ReLU, Smooth

SMOOTH = {"linear": Linear(), "erf": Erf(), "tanh": Smooth(jnp.tanh)}
ALL = SMOOTH | {"relu": ReLU(), "heaviside": Heaviside()}
COVARIANCES = [(0.7, 1.3, 0.4), (1.0, 1.0, -0.9), (0.2, 2.0, 0.0)]


def by_quadrature(f, a, b, c, points=2001):
    """E[f(u, v)] by the rectangle rule in u and in what v adds to it: no code is shared with the library."""
    x = np.linspace(-8.5, 8.5, points)
    w = np.exp(-0.5 * x**2) * (x[1] - x[0]) / np.sqrt(2 * np.pi)
    u, v = np.sqrt(a) * x[:, None], c / np.sqrt(a) * x[:, None] + np.sqrt(b - c**2 / a) * x
    return w @ np.asarray(f(u, v)) @ w


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("covariance", COVARIANCES)
def test_dual_is_the_expectation_of_the_product(name, covariance):
    phi = ALL[name]
    truth = by_quadrature(lambda u, v: np.asarray(phi(jnp.asarray(u))) * np.asarray(phi(jnp.asarray(v))), *covariance)
    tolerance = {"relu": 1e-5, "heaviside": 2e-3}.get(name, 1e-8)  # kinks and jumps on a grid of step 0.0085
    assert abs(phi.dual(*map(jnp.asarray, covariance)) - truth) < tolerance


@pytest.mark.parametrize("name", ALL)
def test_moments_are_the_expectations(name):
    phi, k = ALL[name], jnp.asarray(0.8)
    z = np.linspace(-9, 9, 200_001)
    w = np.exp(-0.5 * z**2) * (z[1] - z[0]) / np.sqrt(2 * np.pi)
    value = np.asarray(phi(jnp.sqrt(k) * jnp.asarray(z)))
    np.testing.assert_allclose(phi.second_moment(k), w @ value**2, atol=1e-4 if name == "heaviside" else 1e-8)
    np.testing.assert_allclose(phi.fourth_moment(k), w @ value**4, atol=1e-4 if name == "heaviside" else 1e-8)
    if name == "heaviside":
        assert phi.slope_moment(k) == jnp.inf
    else:
        slope = np.gradient(value, np.sqrt(0.8) * (z[1] - z[0]))
        np.testing.assert_allclose(phi.slope_moment(k), w @ slope**2, atol=1e-4 if name == "relu" else 1e-6)


@pytest.mark.parametrize("name", [*SMOOTH, "relu"])
def test_slope_of_the_dual_at_correlation_one_is_the_moment_of_the_slope(name):
    """d E[phi(u) phi(v)] / dc = E[phi'(u) phi'(v)]: finite at c = a = b, where the quadrature itself has none."""
    phi, k = ALL[name], jnp.asarray(0.6)
    np.testing.assert_allclose(eqx.filter_jit(jax.grad(phi.dual, 2))(k, k, k), phi.slope_moment(k), rtol=1e-9)


@pytest.mark.parametrize("name", [*SMOOTH, "relu"])
def test_derivatives_of_the_dual_are_those_of_finite_differences(name):
    phi, at = ALL[name], jnp.array([0.7, 1.3, 0.4])
    dual = lambda k: phi.dual(k[0], k[1], k[2])  # noqa: E731
    slope = jax.jit(jax.grad(dual))
    numeric = [(dual(at.at[i].add(1e-5)) - dual(at.at[i].add(-1e-5))) / 2e-5 for i in range(3)]
    np.testing.assert_allclose(slope(at), jnp.array(numeric), atol=1e-8)
    second = [(slope(at.at[i].add(1e-5)) - slope(at.at[i].add(-1e-5))) / 2e-5 for i in range(3)]
    np.testing.assert_allclose(eqx.filter_jit(jax.hessian(dual))(at), jnp.array(second), atol=1e-7)


@pytest.mark.parametrize("name", ALL)
def test_dual_of_an_input_without_variance_is_finite_with_its_gradient(name):
    value, gradient = eqx.filter_jit(jax.value_and_grad(ALL[name].dual, (0, 1, 2)))(*map(jnp.asarray, (0.0, 1.0, 0.0)))
    assert jnp.isfinite(value)
    assert all(jnp.isfinite(g) for g in gradient)


def test_bad_settings_are_refused():
    with pytest.raises(InputError, match="nodes"):
        Smooth(jnp.tanh, nodes=16)
