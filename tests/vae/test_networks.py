"""Perceptrons with the row first: the numbers of Equinox's own, over rows and over draws of each."""

import equinox as eqx
import jax
import numpy as np
import pytest

from jensen.core import InputError
from jensen.vae.networks import convolutional_decoder, convolutional_encoder, gelu, perceptron


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


def test_sizes_may_be_numpys_and_wrong_ones_are_refused():
    key, start = jax.random.key(0), np.zeros((16, 1))
    n = np.int64
    for build, ours, theirs in (
        (perceptron, (n(3), (n(4),), n(2)), (3, (4,), 2)),
        (convolutional_encoder, ((n(4), n(4), n(1)), start[:, 0], start[:, 0] + 1, (n(2),), n(3)), None),
        (convolutional_decoder, (n(2), (n(4), n(4), n(1)), (n(2),), start), (2, (4, 4, 1), (2,), start)),
    ):
        made = build(key, *ours)
        if theirs is not None:
            again = build(key, *theirs)
            for a, b in zip(jax.tree.leaves(made), jax.tree.leaves(again), strict=True):
                np.testing.assert_array_equal(a, b)
    with pytest.raises(InputError, match=r"one positive width, got \(4, 5\)"):
        perceptron(key, 3, (4, 5), 2)
    with pytest.raises(InputError, match="multiples of 4"):
        convolutional_decoder(key, 2, (6, 4, 1), (2, 2), start)
