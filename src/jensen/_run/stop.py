"""Stopping on noisy objectives, and telling divergence from noise."""

import dataclasses
import math

import numpy as np

from jensen.core import InputError


@dataclasses.dataclass(frozen=True)
class Plateau:
    """Stop when the objective surely no longer improves by more than `tolerance` nats a quarter of the run so far.

    At step t the mean objective of (t/2, 3t/4] is compared with that of (3t/4, t]; the run is on a plateau if
    improvement + 2 standard errors < tolerance + relative * |objective|. Windows grow with t, so that noise averages
    out and slow progress is not taken for none; where noise hides the answer, the run goes on to its limit of steps.

    Raises `InputError` for a negative tolerance or `at_least` < 8.
    """

    tolerance: float = 0.05
    relative: float = 1e-5
    at_least: int = 400

    def __post_init__(self):
        if not (self.tolerance >= 0 and self.relative >= 0):
            raise InputError(f"Plateau tolerances must not be negative, got {self.tolerance} and {self.relative}")
        if self.at_least < 8:
            raise InputError(f"Plateau.at_least must be 8 or more, got {self.at_least}")

    def reached(self, objective: np.ndarray) -> bool:
        """Whether the objectives so far, shape (t,), end on a plateau."""
        t = len(objective)
        if t < self.at_least:
            return False
        earlier, later = objective[t // 2 : t - t // 4], objective[t - t // 4 :]
        if not (np.all(np.isfinite(earlier)) and np.all(np.isfinite(later))):
            return False
        improvement = earlier.mean() - later.mean()
        error = math.sqrt(_variance_of_mean(earlier) + _variance_of_mean(later))
        return bool(improvement + 2 * error < self.tolerance + self.relative * abs(later.mean()))


def _variance_of_mean(x: np.ndarray, batches: int = 10) -> float:
    """Variance of the mean of a correlated series, by means of batches."""
    means = np.array([part.mean() for part in np.array_split(x, batches)])
    return float(means.var(ddof=1) / batches)


def diverged(best: np.ndarray, window: np.ndarray) -> bool:
    """Whether the objectives of `window` lie far above those of the best: beyond 20 of its spreads and 10 nats."""
    if not np.all(np.isfinite(best)):
        return False
    if not np.any(np.isfinite(window)):
        return True
    centre = np.median(best)
    spread = 1.4826 * np.median(np.abs(best - centre)) + 1.0
    return bool(np.nanmedian(window) - centre > 20 * spread + 10.0)
