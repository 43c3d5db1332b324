"""The plateau rule and the divergence test, on series whose truth is known."""

import numpy as np
import pytest

from jensen._run.stop import Plateau, diverged
from jensen.core import InputError


def _stops_at(series, plateau, window=100):
    return next((t for t in range(window, len(series) + 1, window) if plateau.reached(series[:t])), None)


@pytest.mark.parametrize("seed", range(5))
def test_a_converged_noisy_series_stops_and_a_falling_one_does_not(seed):
    rng = np.random.default_rng(seed)
    t = np.arange(20_000)
    settled = 100 * np.exp(-t / 200) + rng.normal(0, 1.0, t.size)
    stop = _stops_at(settled, Plateau())
    assert stop is not None
    assert 100 * np.exp(-stop / 200) < 0.05  # what is left is below the tolerance
    falling = 100 - 0.01 * t[:5000] + rng.normal(0, 1.0, 5000)  # 0.01 nats a step for ever
    assert _stops_at(falling, Plateau()) is None


def test_noise_that_hides_the_answer_does_not_stop():
    rng = np.random.default_rng(0)
    slow = 100 - 0.001 * np.arange(3000) + rng.normal(0, 50.0, 3000)
    assert _stops_at(slow, Plateau()) is None


def test_divergence_is_told_from_noise():
    rng = np.random.default_rng(1)
    best = 50 + rng.normal(0, 3, 100)
    assert not diverged(best, 55 + rng.normal(0, 3, 100))
    assert diverged(best, 1e8 + rng.normal(0, 3, 100))
    assert diverged(best, np.full(100, np.nan))
    assert not diverged(np.full(100, np.nan), best)


def test_bad_settings():
    with pytest.raises(InputError, match="must not be negative"):
        Plateau(tolerance=-1.0)
    with pytest.raises(InputError, match="8 or more"):
        Plateau(at_least=2)
