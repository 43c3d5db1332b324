import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen.amortised import ContextualFlow, SplineFlow, spline
from jensen.amortised.contextual_flow import contextual_flow
from jensen.core import InputError

BINS = 5


def knots(seed):
    raw = jax.random.normal(jax.random.key(seed), (spline.num_parameters(BINS),))
    return spline.knots(2 * raw, BINS)


@pytest.mark.parametrize("seed", range(3))
def test_the_spline_is_monotone_inverted_and_has_its_slope(seed):
    at = knots(seed)
    x = jnp.linspace(-6.0, 6.0, 401)
    y, log_slope = jax.vmap(lambda x: spline.forward(x, at))(x)
    assert np.all(np.diff(y) > 0)
    np.testing.assert_allclose(jax.vmap(lambda y: spline.inverse(y, at))(y), x, atol=1e-9)
    slope = jax.vmap(jax.grad(lambda x: spline.forward(x, at)[0]))(x)
    np.testing.assert_allclose(jnp.exp(log_slope), slope, rtol=1e-9)


def test_zeros_are_the_identity():
    at = spline.knots(jnp.zeros(spline.num_parameters(BINS)), BINS)
    for x in (-4.5, -1.3, 0.0, 2.2, 3.99):
        y, log_slope = spline.forward(jnp.asarray(x), at)
        np.testing.assert_allclose((y, log_slope), (x, 0.0), atol=1e-12)


def flow(d, seed=0):
    q = contextual_flow(jax.random.key(seed), jnp.arange(1.0, d + 1), jnp.full(d, 2.0), 3, 3, BINS, 16)
    stirred = jax.tree.map(lambda a: a, q)
    networks = jax.tree.map(
        lambda a: a + 0.3 * jax.random.normal(jax.random.key(a.size), a.shape, a.dtype), stirred.networks
    )
    return ContextualFlow(q.centre, q.spread, networks, q.order, jnp.array([0.3, -1.0, 2.0]), q.bins)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_draws_are_inverted_and_the_density_has_the_jacobian_of_the_map(d):
    q = flow(d)
    for eps in jax.random.normal(jax.random.key(1), (5, d)):
        z = q.from_noise(eps)
        back, log_det = q.to_noise(z)
        np.testing.assert_allclose(back, eps, atol=1e-8)
        jacobian = jax.jacfwd(q.from_noise)(eps)
        np.testing.assert_allclose(-log_det, jnp.linalg.slogdet(jacobian)[1], atol=1e-7)


def test_the_density_integrates_to_one():
    q = flow(1)
    z = np.asarray(jax.vmap(q.from_noise)(jnp.linspace(-7.0, 7.0, 40_001)[:, None]))[:, 0]
    density = np.exp(np.asarray(jax.vmap(q.log_prob)(jnp.asarray(z)[:, None])))
    assert abs(np.trapezoid(density, z) - 1) < 1e-5


def test_another_context_is_another_density_and_a_saved_one_has_the_same_arrays():
    q = flow(2)
    other = q.at(jnp.zeros(3))
    z = jnp.array([0.5, 1.5])
    assert abs(q.log_prob(z) - other.log_prob(z)) > 1e-3
    made = ContextualFlow.from_config(q.config())
    assert [a.shape for a in jax.tree.leaves(made)] == [a.shape for a in jax.tree.leaves(q)]


def test_sizes_below_one_are_refused():
    with pytest.raises(InputError, match="at least 1"):
        SplineFlow(layers=0).build(jax.random.key(0), jnp.ones((10, 2)), 3)
