"""Perceptrons with the row first: the numbers of Equinox's own, over rows and over draws of each."""

import equinox as eqx
import jax
import numpy as np
import pytest

from jensen.vae.networks import gelu, perceptron


@pytest.mark.parametrize("hidden", [(), (5,), (5, 5)])
def test_a_perceptron_is_that_of_equinox_with_the_same_key(hidden):
    key = jax.random.key(3)
    ours = perceptron(key, 7, hidden, 3)
    theirs = eqx.nn.MLP(7, 3, 5, len(hidden), activation=gelu, key=key) if hidden else eqx.nn.Linear(7, 3, key=key)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_array_equal(a, b)
    rows = jax.random.normal(jax.random.key(4), (4, 6, 7))

    @eqx.filter_jit
    def out(network):
        return jax.vmap(jax.vmap(network))(rows)

    np.testing.assert_allclose(out(ours), out(theirs), rtol=1e-12, atol=1e-14)
