import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen.core import InputError, sample_many
from jensen.families import (
    Affine,
    Coupling,
    FlowBuilder,
    FullRank,
    Gaussian,
    GaussianMixture,
    HeavyTailed,
    Particles,
    fit_to_draws,
    kl_gaussian,
)

P = Gaussian(jnp.array([1.0, -2.0]), jnp.array([[1.0, 0.0], [0.6, 0.8]]))


def test_a_gaussian_is_that_of_the_moments(key):
    z = sample_many(key, P, 5000)
    q = fit_to_draws(key, FullRank(), z, steps=100)
    # KL of a maximum likelihood fit: half a nat for each of 5 parameters, over n, and its chi-square tail
    assert kl_gaussian(q, P) < 30 / 5000


def test_degrees_of_freedom_are_found():
    z = 2 * jax.random.t(jax.random.key(0), 3.0, (8000, 1)) + 1
    q = fit_to_draws(jax.random.key(1), HeavyTailed(), z, steps=1000, learning_rate=0.02)
    assert 2.5 < jnp.exp(q.log_df[0]) < 3.6  # four standard errors of the maximum likelihood estimate, 0.12, each way


def test_a_flow_fits_two_humps_better_than_a_gaussian():
    p = GaussianMixture(jnp.zeros(2), jnp.array([[-2.0, 0.0], [2.0, 0.0]]), jnp.stack([0.5 * jnp.eye(2)] * 2))
    z, fresh = sample_many(jax.random.key(0), p, 2000), sample_many(jax.random.key(1), p, 2000)
    family = FlowBuilder(Coupling(Affine(), width=16, depth=1), num_layers=4)
    q = fit_to_draws(jax.random.key(2), family, z, steps=600)
    gain = eqx.filter_jit(jax.vmap(q.log_prob))(fresh) - eqx.filter_jit(
        jax.vmap(fit_to_draws(jax.random.key(2), FullRank(), z, steps=20).log_prob)
    )(fresh)
    assert jnp.mean(gain) > 5 * jnp.std(gain) / np.sqrt(2000)


def test_bad_input_is_met_at_the_door():
    key, z = jax.random.key(0), jnp.zeros((50, 2))
    with pytest.raises(InputError, match="finite"):
        fit_to_draws(key, FullRank(), z.at[0, 0].set(jnp.inf))
    with pytest.raises(InputError, match="too few"):
        fit_to_draws(key, FullRank(), z[:5])
    with pytest.raises(InputError, match="held_out"):
        fit_to_draws(key, FullRank(), z, held_out=1.0)
    with pytest.raises(InputError, match="density or builder"):
        fit_to_draws(key, Particles(z, jnp.zeros(50)), z)
