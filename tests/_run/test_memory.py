"""Fits in one process leave nothing behind, and nothing but the records grows with the steps of a run."""

import gc
import os
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen._run import drive, run
from jensen.algorithms import SGHMC, GradientVI
from jensen.targets import from_log_density

STATM = Path("/proc/self/statm")


def density(z, x):
    return -0.5 * jnp.sum(z**2) - jnp.sum(jax.nn.softplus(x @ z))


def target(seed):
    return from_log_density(density, jnp.zeros(3), jnp.asarray(np.random.default_rng(seed).normal(size=(50, 3))))


def resident():
    gc.collect()
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not STATM.exists(), reason="resident memory is read from Linux's /proc")
def test_many_fits_leave_no_array_no_object_and_no_memory_behind():
    """Fifty fits with new data, key and rate: after ten of them, arrays and objects are as many as before."""

    def fit(i):
        run(GradientVI(learning_rate=0.01 + 1e-4 * i), target(i), key=jax.random.key(i), steps=20)

    for i in range(10):
        fit(i)
    size, arrays, objects = resident(), len(jax.live_arrays()), len(gc.get_objects())
    for i in range(10, 50):
        fit(i)
    assert resident() < 1.05 * size
    assert len(jax.live_arrays()) <= arrays + 2
    assert len(gc.get_objects()) < objects + 400  # ten a fit would be a leak


def nbytes(tree):
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree) if eqx.is_array(leaf) or isinstance(leaf, np.ndarray))


def test_state_does_not_grow_with_steps_and_history_by_its_numbers_alone():
    """A history is a few numbers a step by design, draws are what a sampler is asked for; nothing else may grow."""
    short, long = (drive(GradientVI(), target(0), key=jax.random.key(0), steps=n) for n in (100, 1000))
    assert nbytes(short.state) == nbytes(long.state)
    assert nbytes(short.posterior) == nbytes(long.posterior)
    kept = [(h.objective, h.residual, h.scalars) for h in (short.run.history, long.run.history)]
    assert nbytes(kept[1]) == 10 * nbytes(kept[0]) == 8 * 1000 * len(jax.tree.leaves(kept[1]))
    before = len(jax.live_arrays())
    drive(SGHMC(chains=2, leaps=1), target(0), key=jax.random.key(0), steps=300)
    again = len(jax.live_arrays())
    drive(SGHMC(chains=2, leaps=1), target(0), key=jax.random.key(0), steps=1500)
    assert len(jax.live_arrays()) <= again <= before + 10  # on the device nothing stays of the chunks
