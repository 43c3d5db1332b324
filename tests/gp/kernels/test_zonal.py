import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen.core import InputError
from jensen.gp.kernels import Matern52
from jensen.gp.kernels.zonal import ArcCosine, Chord, Zonal, funk_hecke, harmonic_counts, zonal_series


@pytest.mark.parametrize("dimension", [2, 3, 5])
def test_the_series_gives_the_function_back(dimension):
    t = jnp.linspace(-1.0, 1.0, 21)

    def smooth(t):
        return jnp.exp(1.5 * t)

    np.testing.assert_allclose(zonal_series(funk_hecke(smooth, dimension, 30), dimension, t), smooth(t), atol=1e-10)


def test_coefficients_in_closed_form():
    for dimension in (2, 3, 7):
        linear = funk_hecke(lambda t: t, dimension, 4)
        np.testing.assert_allclose(linear, [0, 1 / dimension, 0, 0, 0], atol=1e-14)
    relu = funk_hecke(jax.nn.relu, 3, 9)
    np.testing.assert_allclose(relu[:2], [0.25, 1 / 6], atol=1e-14)
    np.testing.assert_allclose(relu[3::2], 0, atol=1e-14)
    np.testing.assert_allclose(funk_hecke(jax.nn.softplus, 3, 9)[3::2], 0, atol=1e-14)


@pytest.mark.parametrize("dimension", [2, 3, 5])
def test_the_arc_cosine_spectrum_is_the_square_of_that_of_its_units(dimension):
    # kappa(cos) = 2 d E_w[relu(w x) relu(w x')] for w uniform on the sphere
    kernel, relu = funk_hecke(ArcCosine().value, dimension, 12), funk_hecke(jax.nn.relu, dimension, 12)
    np.testing.assert_allclose(kernel, 2 * dimension * relu**2, atol=1e-12)


def test_number_of_harmonics():
    assert harmonic_counts(2, 3) == [1, 2, 2, 2]
    assert harmonic_counts(3, 3) == [1, 3, 5, 7]
    assert harmonic_counts(4, 3) == [1, 4, 9, 16]


def test_the_kernel_is_that_of_its_definition():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(6, 2)))
    kernel = Zonal(Chord(Matern52(lengthscale=0.8)), lengthscale=jnp.array([0.5, 2.0]), bias=1.3, variance=0.7)
    v = jnp.concatenate([x / jnp.array([0.5, 2.0]), jnp.full((6, 1), 1.3)], 1)
    r = jnp.linalg.norm(v, axis=1)
    unit = v / r[:, None]
    np.testing.assert_allclose(kernel(x, x), 0.7 * jnp.outer(r, r) * Matern52(lengthscale=0.8)(unit, unit), atol=1e-7)
    np.testing.assert_allclose(kernel(x), jnp.diagonal(kernel(x, x)), rtol=1e-12)
    np.testing.assert_allclose(kernel.evaluate(x[0], x[1]), kernel(x, x)[0, 1], rtol=1e-12)


def test_a_sphere_has_two_dimensions_or_more():
    with pytest.raises(InputError, match="d >= 2"):
        funk_hecke(jax.nn.relu, 1, 3)
