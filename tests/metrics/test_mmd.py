"""MMD between Gaussians, known in closed form."""

import numpy as np
import pytest

from jensen.core import InputError
from jensen.metrics import mmd


def exact(shift, h, d):
    """MMD^2 of N(0, I) and N(shift, I): 2 (h^2 / (h^2 + 2))^(d/2) (1 - exp(-|shift|^2 / (2 (h^2 + 2))))."""
    return 2 * (h**2 / (h**2 + 2)) ** (d / 2) * (1 - np.exp(-(shift @ shift) / (2 * (h**2 + 2))))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("shift", [0.0, 0.3, 1.5])
def test_mmd_of_two_gaussians(seed, shift):
    rng = np.random.default_rng(seed)
    m = np.full(3, shift)
    value, error = mmd(rng.normal(size=(800, 3)), m + rng.normal(size=(900, 3)), bandwidth=1.2)
    assert abs(value - exact(m, 1.2, 3)) < 5 * error
    assert error < 0.02  # so that the larger shifts are seen


def test_median_bandwidth_sees_a_shift():
    rng = np.random.default_rng(0)
    value, error = mmd(100 * rng.normal(size=(500, 2)), 100 * (1 + rng.normal(size=(500, 2))))
    assert value > 5 * error


def test_shapes_are_checked():
    with pytest.raises(InputError):
        mmd(np.zeros((10, 2)), np.zeros((10, 3)))
