"""Inverse Lipschitz decoders: convexity of the potentials, the constant, the linear case against its threshold."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen.core import InputError
from jensen.vae import brenier_map, constrained_collapse, inverse_lipschitz_decoder, posterior_collapse


@pytest.mark.parametrize("constant", [0.0, 0.7])
def test_distances_are_kept_and_jacobians_are_symmetric(constant):
    decoder = inverse_lipschitz_decoder(jax.random.key(0), 2, (8, 8), jnp.zeros((3, 2)), constant)
    np.testing.assert_allclose(decoder.constant, constant, rtol=1e-6)
    z, step = 2 * jax.random.normal(jax.random.key(1), (2, 500, 2))

    def ratio(z, step):
        return jnp.linalg.norm(decoder(z + step) - decoder(z)) / jnp.linalg.norm(step)

    assert float(jnp.min(eqx.filter_jit(jax.vmap(ratio))(z, step))) > constant
    slopes = eqx.filter_jit(jax.vmap(jax.jacfwd(decoder.outer)))(jax.random.normal(jax.random.key(2), (50, 6)))
    np.testing.assert_allclose(slopes, jnp.swapaxes(slopes, 1, 2), atol=1e-10)
    assert float(jnp.min(jnp.linalg.eigvalsh(slopes))) > float(np.sqrt(constant)) - 1e-9
    # the strength is no parameter: it must stay where it is
    gradient = eqx.filter_jit(jax.grad(lambda s: jnp.sum(_with(decoder.inner, s)(z[0]))))(0.3)
    assert float(gradient) == 0.0


def _with(mapping, strength):
    return type(mapping)(mapping.linear, mapping.biases, mapping.positive, mapping.out, strength)


def test_without_a_bound_the_linear_case_is_the_plain_threshold_and_the_divergence_that_of_its_gaussian():
    values, noise, weight = np.array([3.0, 1.0, 0.2]), 0.5, 1.5
    w2, divergence = constrained_collapse(values, noise, 0.0, weight)
    np.testing.assert_array_equal(w2, posterior_collapse(values, noise, weight))
    assert divergence[2] == 0.0
    w2, divergence = constrained_collapse(values, noise, 1.2, weight)
    assert np.all(w2 >= 1.2**2)
    a, t = np.sqrt(w2) / (w2 + weight * noise), weight * noise / (w2 + weight * noise)
    np.testing.assert_allclose(divergence, 0.5 * (a**2 * values + t - 1 - np.log(t)), rtol=1e-12)


def test_bad_input_is_met_at_the_door():
    with pytest.raises(InputError, match="L >= 0"):
        inverse_lipschitz_decoder(jax.random.key(0), 2, (8,), jnp.zeros((3, 1)), -1.0)
    with pytest.raises(InputError, match="no fewer"):
        inverse_lipschitz_decoder(jax.random.key(0), 4, (8,), jnp.zeros((3, 1)), 1.0)
    with pytest.raises(InputError, match="Brenier"):
        brenier_map(jax.random.key(0), 2, (), 1.0)
