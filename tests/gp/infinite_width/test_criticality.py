"""Susceptibilities, the edge of chaos and the vertex against derivations and against simulated networks."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen.core import InputError
from jensen.gp.infinite_width import (
    Erf,
    Heaviside,
    Linear,
    RandomNetwork,
    ReLU,
    Smooth,
    draw_networks,
    edge_of_chaos,
    susceptibilities,
    vertex_recursion,
)


def test_scale_invariant_activations_are_critical_at_one_point():
    for phi, w in ((Linear(), 1.0), (ReLU(), 2.0)):
        chi = susceptibilities(phi, w, 0.7)
        np.testing.assert_allclose([chi.parallel, chi.perpendicular], 1.0, rtol=1e-12)
        edge = edge_of_chaos(phi, 0.7)
        np.testing.assert_allclose([edge.weight_variance, edge.bias_variance], [w, 0.0], atol=1e-12)


@pytest.mark.parametrize("phi", [Erf(), Smooth(jnp.tanh)])
def test_edge_of_chaos_is_a_fixed_point_of_slope_one(phi):
    edge = edge_of_chaos(phi, 0.5)
    w, b, q = edge.weight_variance, edge.bias_variance, edge.variance
    np.testing.assert_allclose(b + w * phi.second_moment(q), q, rtol=1e-12)
    correlation = lambda r: (b + w * phi.dual(q, q, r * q)) / q  # noqa: E731
    np.testing.assert_allclose(eqx.filter_jit(jax.grad(correlation))(jnp.asarray(1.0)), 1.0, rtol=1e-9)
    assert edge_of_chaos(phi, 1.0).weight_variance > w  # the edge rises with the variance


def test_edge_of_chaos_refuses_what_has_none():
    with pytest.raises(InputError, match="positive"):
        edge_of_chaos(ReLU(), 0.0)
    with pytest.raises(InputError, match="jumps"):
        edge_of_chaos(Heaviside(), 1.0)
    with pytest.raises(InputError, match="depth"):
        vertex_recursion(ReLU(), 2.0, 0.0, 1.0, 0)


@pytest.mark.parametrize(("phi", "w", "growth"), [(Linear(), 1.0, 2.0), (ReLU(), 2.0, 5.0)])
def test_vertex_of_scale_invariant_activations_grows_linearly(phi, w, growth):
    """V_l / K^2 = g (l - 1), g = 3 E[phi^4] / (3 E[phi^2]^2) ... - 1: 2 for linear, 5 for ReLU."""
    found = vertex_recursion(phi, w, 0.0, 0.7, 6)
    np.testing.assert_allclose(found.variance, 0.7, rtol=1e-12)
    np.testing.assert_allclose(found.vertex / 0.7**2, growth * np.arange(6), rtol=1e-12)


@pytest.mark.optimised
def test_vertex_is_the_excess_kurtosis_of_simulated_networks(key):
    """At width 64 the next order is (l / n)^2: the fourth moment through E[S^2] / E[S]^2, S = sum phi^2 / n."""
    width, depth = 64, 2
    network = RandomNetwork(Smooth(jnp.tanh), width=width, depth=depth, weight_variance=1.0, bias_variance=0.0)
    x = jnp.full((1, 1), 1.0)
    hidden = jax.jit(lambda k: draw_networks(k, lambda k, x: jnp.mean(network.hidden(k, x) ** 2), x, 40_000))(key)
    s = np.asarray(hidden)
    excess = np.mean(s**2) / np.mean(s) ** 2 - 1
    error = np.std((s / s.mean() - 1) ** 2) / np.sqrt(len(s))
    found = vertex_recursion(Smooth(jnp.tanh), 1.0, 0.0, 1.0, depth + 1)
    predicted = found.vertex[-1] / (width * found.variance[-1] ** 2)
    assert abs(excess - predicted) < 5 * error + predicted * depth / width * 3
    assert 5 * error < 0.2 * predicted
