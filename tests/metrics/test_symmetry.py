import numpy as np
import pytest

from jensen.core import InputError
from jensen.metrics.symmetry import symmetry


def test_p_values_are_uniform_where_probabilities_are_symmetric():
    """Of 2,000 tests at level 0.05 on symmetric (not uniform) values, 5 % reject, within five standard errors."""
    rng = np.random.default_rng(0)
    p = rng.beta(0.5, 0.5, (100, 2000))
    share = np.mean(symmetry(p) < 0.05)
    assert abs(share - 0.05) < 5 * np.sqrt(0.05 * 0.95 / 2000)


def test_a_shifted_centre_is_seen_and_a_wrong_width_is_not():
    rng = np.random.default_rng(1)
    from scipy.special import ndtr

    z = rng.normal(size=(1000, 1))
    assert symmetry(ndtr(z - 0.3))[0] < 1e-6
    assert symmetry(ndtr(3 * z))[0] > 1e-6
    assert symmetry(np.full((30, 1), 0.5))[0] == 1


def test_what_is_no_probability_is_refused():
    for wrong in (np.zeros(50), np.full((50, 1), 1.5), np.zeros((5, 2)), np.full((50, 1), np.nan)):
        with pytest.raises(InputError, match="probabilities"):
            symmetry(wrong)
