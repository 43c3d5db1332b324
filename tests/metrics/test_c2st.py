"""The classifier's accuracy against the best possible one."""

import jax
import numpy as np
import pytest
from scipy.stats import norm

from jensen.core import InputError
from jensen.metrics import c2st


def test_equal_distributions_cannot_be_told_apart(key):
    x, y = (np.asarray(jax.random.normal(k, (1000, 3))) for k in jax.random.split(key))
    accuracy, error = c2st(key, x, y)
    assert abs(accuracy - 0.5) < 5 * error


def test_a_shift_is_seen_and_never_beyond_the_bayes_rate(key):
    x, y = (np.asarray(jax.random.normal(k, (1000, 3))) for k in jax.random.split(key))
    best = norm.cdf(0.5 * np.sqrt(3 * 1.0))
    accuracy, error = c2st(key, x, y + 1.0)
    assert best - 0.04 < accuracy < best + 5 * error  # 0.04: what a network loses to the best rule on 1,600 rows


def test_a_difference_of_shape_alone_is_seen():
    """Equal means and covariances: a ring against a Gaussian."""
    keys = jax.random.split(jax.random.key(0), 2)
    angle = np.asarray(jax.random.uniform(keys[0], (1000,), maxval=2 * np.pi))
    ring = np.sqrt(2) * np.stack([np.cos(angle), np.sin(angle)], 1)
    accuracy, error = c2st(jax.random.key(1), ring, np.asarray(jax.random.normal(keys[1], (1000, 2))))
    assert accuracy > 0.5 + 10 * error


def test_shapes_are_checked():
    with pytest.raises(InputError):
        c2st(jax.random.key(0), np.zeros((30, 2)), np.zeros((30, 3)))
