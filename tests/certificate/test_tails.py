"""Tail shapes against distributions whose shape is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen.certificate import hill, local_stretch, tails_of, tails_of_draws
from jensen.core import InputError
from jensen.families import DiagonalGaussian, Gaussian, Pushforward, StudentT


def test_shapes_of_a_power_law_a_gaussian_and_a_skewed_distribution():
    """k = 1 / nu; a Gaussian's is slightly negative; tails are told apart."""
    rng = np.random.default_rng(0)
    draws = np.stack([rng.standard_t(3, 200_000), rng.normal(size=200_000), rng.pareto(2, 200_000)], 1)
    found = tails_of_draws(draws)
    assert abs(found.upper[0] - 1 / 3) < 5 * found.standard_error[0]
    assert abs(found.lower[0] - 1 / 3) < 5 * found.standard_error[0]
    assert abs(found.upper[2] - 1 / 2) < 5 * found.standard_error[2]
    assert -0.25 < found.upper[1] < 0.05
    assert found.lower[2] < 0  # bounded below
    assert found.heavy.tolist() == [True, False, True]


def test_the_image_of_heavy_noise_is_heavy():
    base = StudentT(jnp.zeros(2), jnp.zeros(2), jnp.log(jnp.array([3.0, 3.0])))
    turn = Gaussian(jnp.zeros(2), jnp.array([[1.0, 0.0], [1.0, 0.5]]))
    found = tails_of(jax.random.key(0), Pushforward(base, turn), 50_000)
    assert found.heavy.tolist() == [True, True]
    assert not tails_of(jax.random.key(0), turn, 50_000).heavy.any()


def test_hill_of_a_pareto_distribution_is_its_index():
    """For an exact Pareto tail the estimate times (k - 1) / k is unbiased with relative error k^-1/2."""
    x = 1 + np.random.default_rng(1).pareto(2.5, 100_000)
    assert abs(hill(x, 1000) / 2.5 - 1) < 5 / np.sqrt(1000)


def test_stretch_of_an_affine_map_is_its_norm():
    q = Gaussian(jnp.zeros(2), jnp.array([[2.0, 0.0], [1.0, 0.5]]))
    assert jnp.allclose(local_stretch(jax.random.key(0), q, 3), jnp.linalg.norm(q.scale_tril, ord=2))
    assert jnp.allclose(
        local_stretch(jax.random.key(0), DiagonalGaussian(jnp.zeros(2), jnp.log(jnp.array([3.0, 1.0]))), 3), 3.0
    )


def test_bad_input_is_met_at_the_door():
    with pytest.raises(InputError, match="exceedances"):
        tails_of_draws(np.zeros((60, 1)), 5)
    with pytest.raises(InputError, match="finite"):
        tails_of_draws(np.full((600, 1), np.nan))
    with pytest.raises(InputError, match="positive"):
        hill(-np.ones(10), 3)
