"""Rows in shuffled order: each once an epoch, every place alike, the same for a key."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jensen.core import InputError, MissingCapability, at_step
from jensen.targets import Shuffled, from_log_density, from_rows
from jensen.targets.wrappers.shuffled import permuted


def target(rows):
    return from_rows(lambda z: -0.5 * z**2, lambda z, y: -0.5 * (y - z) ** 2, np.arange(float(rows)), jnp.zeros(()))


@pytest.mark.parametrize("n", [1, 7, 64, 65, 72, 73, 2048, 5000])
def test_it_is_a_permutation_that_can_be_had_in_parts(n):
    key = jax.random.key(0)
    whole = np.asarray(permuted(key, jnp.arange(n), n))
    assert sorted(whole) == list(range(n))
    np.testing.assert_array_equal(permuted(key, jnp.arange(n // 2, n), n), whole[n // 2 :])


@pytest.mark.parametrize("n", [50, 65, 2500])
def test_every_row_is_as_likely_at_every_place(n):
    """First, middle and last place over 4,000 keys, and the distance of two neighbours: chi-square at 1e-6."""
    places = jnp.asarray([0, 1, n // 2, n - 1])
    keys = jax.random.split(jax.random.key(1), 4000)
    values = np.asarray(jax.jit(jax.vmap(lambda k: permuted(k, places, n)))(keys))
    apart = (values[:, 1] - values[:, 0]) % n  # in 1 .. n - 1
    for column, low in ((values[:, 0], 0), (values[:, 1], 0), (values[:, 2], 0), (values[:, 3], 0), (apart, 1)):
        counts = np.bincount((column - low) * 7 // (n - low), minlength=7)
        sizes = np.bincount(np.arange(n - low) * 7 // (n - low), minlength=7)
        assert scipy.stats.chisquare(counts, 4000 * sizes / sizes.sum()).pvalue > 1e-6


def test_two_rows_are_as_likely_together_as_any_others():
    """Places in one row and in one column of the smallest network, and far apart: all pairs, chi-square at 1e-6.

    What two places of a minibatch have in common is what its variance depends on. Six rounds of the network instead of
    eight fail at this number of keys (p = 2e-7), four at p = 0.
    """
    n, keys = 65, jax.random.split(jax.random.key(4), 200_000)
    places = jnp.asarray([0, 1, 9, 41])  # the network is 9 wide
    values = np.asarray(jax.jit(jax.vmap(lambda k: permuted(k, places, n)))(keys))
    for other in (1, 2, 3):
        counts = np.bincount(values[:, 0] * n + values[:, other], minlength=n * n).reshape(n, n)
        assert np.all(np.diagonal(counts) == 0)
        apart = counts[~np.eye(n, dtype=bool)]
        assert scipy.stats.chisquare(apart).pvalue > 1e-6


def test_an_epoch_sees_each_row_once_and_the_next_in_another_order():
    shuffled = Shuffled(target(12), 3)
    stream = jax.random.key(2)
    rows = [np.asarray(shuffled.realise_at(stream, jnp.asarray(t)).data) for t in range(8)]
    assert sorted(np.concatenate(rows[:4])) == sorted(np.concatenate(rows[4:])) == list(range(12))
    assert not np.array_equal(np.concatenate(rows[:4]), np.concatenate(rows[4:]))
    assert shuffled.epoch == 4


def test_the_density_of_an_epoch_is_the_full_one_on_average():
    """Exactly, for no row is left out: the scaling N / B is the target's."""
    exact = target(12)
    shuffled, z = Shuffled(exact, 4), jnp.asarray([0.3])
    values = [shuffled.realise_at(jax.random.key(3), jnp.asarray(t)).log_density(z) for t in range(3)]
    np.testing.assert_allclose(np.mean(values), exact.log_density(z), rtol=1e-12)
    seen = shuffled.realise(at_step(jax.random.key(3), 0))
    assert seen.data.shape == (4,)


def test_bad_sizes_and_targets_without_rows_are_refused():
    with pytest.raises(InputError, match="between 1 and 12"):
        Shuffled(target(12), 13)
    with pytest.raises(MissingCapability, match="no rows"):
        Shuffled(from_log_density(lambda z: -z @ z, jnp.zeros(2)), 1)
