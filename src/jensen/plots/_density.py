"""Kernel density estimates for drawing; not for inference."""

import numpy as np

_MAX_DRAWS = 1500


def density(
    values: np.ndarray, points: int = 120, low: float | None = None, high: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """(x, density) on a grid over the central 99.6 % of `values`, by a Gaussian kernel of Silverman's width.

    The mass that the kernel would push beyond the smallest and the largest draw is reflected there, so that a scale
    near zero does not seem to reach below it. Constant values give an empty grid.
    """
    values = np.asarray(values, float)[np.isfinite(values)]
    if values.size < 2 or np.ptp(values) == 0:
        return np.zeros(0), np.zeros(0)
    values = values[:: max(1, values.size // _MAX_DRAWS)]
    quartiles = np.quantile(values, [0.25, 0.75])
    spread = min(values.std(), np.ptp(quartiles) / 1.34) or values.std()
    width = 0.9 * spread * values.size**-0.2
    if width == 0:
        return np.zeros(0), np.zeros(0)
    ends = np.quantile(values, [0.002, 0.998])
    x = np.linspace(ends[0] if low is None else low, ends[1] if high is None else high, points)
    mirrored = np.concatenate([values, 2 * values.min() - values, 2 * values.max() - values])
    kernel = np.exp(-0.5 * ((x[:, None] - mirrored) / width) ** 2)
    return x, kernel.sum(1) / (values.size * width * np.sqrt(2 * np.pi))
