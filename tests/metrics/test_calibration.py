"""Coverage and ranks of a conjugate model, exact and overconfident."""

import numpy as np
import pytest

from jensen.core import InputError
from jensen.metrics import coverage, sbc_ranks, uniformity

SIMULATIONS, DRAWS = 1000, 99


def conjugate(seed, factor):
    """mu ~ N(0, 1), y ~ N(mu, 1): the posterior N(y / 2, 1 / 2), its sd multiplied by `factor`; two copies."""
    rng = np.random.default_rng(seed)
    mu = rng.normal(size=(SIMULATIONS, 2))
    y = mu + rng.normal(size=mu.shape)
    noise = rng.normal(size=(SIMULATIONS, DRAWS, 2))
    return 0.5 * y[:, None] + factor * np.sqrt(0.5) * noise, mu


@pytest.mark.parametrize("seed", range(5))
def test_exact_posteriors_are_calibrated(seed):
    draws, mu = conjugate(seed, 1.0)
    share, error = coverage(draws, mu, 0.8)
    # 0.8 * 98 / 100: an interval between interpolated order statistics of 99 draws holds the truth that often
    assert np.all(np.abs(share - 0.784) < 5 * error)
    ranks = sbc_ranks(draws, mu)
    assert ranks.shape == (SIMULATIONS, 2)
    assert np.all(np.abs(ranks.mean(0) - DRAWS / 2) < 5 * np.sqrt((DRAWS + 1) ** 2 / 12 / SIMULATIONS))
    assert np.all(uniformity(ranks, DRAWS) > 1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_overconfident_posteriors_are_found_out(seed):
    draws, mu = conjugate(seed, 0.7)
    share, error = coverage(draws, mu, 0.8)
    assert np.all(share < 0.8 - 5 * error)
    assert np.all(uniformity(sbc_ranks(draws, mu), DRAWS) < 1e-6)


def test_the_p_value_is_that_of_the_chi_square_distribution():
    """Two bins, 60 against 40: statistic 4, P(chi^2_1 > 4) = 0.0455."""
    ranks = np.repeat([[0], [1]], [60, 40], axis=0)
    assert uniformity(ranks, 1, bins=2)[0] == pytest.approx(0.04550026389635842, rel=1e-9)


def test_too_few_simulations_and_wrong_shapes_are_refused():
    with pytest.raises(InputError, match="too few"):
        uniformity(np.zeros((10, 1), int), 99)
    with pytest.raises(InputError):
        coverage(np.zeros((5, 10, 2)), np.zeros((5, 3)))
    with pytest.raises(InputError, match="lie in 0"):
        uniformity(np.full((10, 1), 10), 9)
