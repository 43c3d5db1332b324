"""Coverage of intervals, and simulation-based calibration."""

from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jensen.core import InputError


def coverage(draws: Any, truths: Any, level: float = 0.9) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, " d"]]:
    """(share, standard error) of simulations in which the central interval of `level` holds the truth, by parameter.

    `draws`: posterior draws, shape (simulations, n, d). `truths`: shape (simulations, d). The share tends to `level`
    where posteriors are exact and truths come from the prior. The standard error is that at `level` itself.

    Raises `InputError` for shapes that do not agree or a level outside (0, 1).
    """
    draws, truths = _checked(draws, truths)
    if not 0 < level < 1:
        raise InputError(f"level must be between 0 and 1, got {level}")
    low, high = np.quantile(draws, [0.5 - 0.5 * level, 0.5 + 0.5 * level], axis=1)
    share = np.mean((truths >= low) & (truths <= high), axis=0)
    return share, np.full(share.shape, np.sqrt(level * (1 - level) / len(truths)))


def sbc_ranks(draws: Any, truths: Any) -> Int[np.ndarray, "simulations d"]:
    """The number of posterior draws below the truth, 0 .. n: uniform where the posterior is exact.

    `draws`: shape (simulations, n, d), as good as independent within a simulation (thin chains first). `truths`: shape
    (simulations, d), drawn from the prior. Raises `InputError` for shapes that do not agree.
    Source: Talts, Betancourt, Simpson, Vehtari, Gelman (2018).
    """
    draws, truths = _checked(draws, truths)
    return np.sum(draws < truths[:, None, :], axis=1)


def uniformity(ranks: Any, num_draws: int, bins: int = 20) -> Float[np.ndarray, " d"]:
    """p-value of the chi-square test that ranks in 0 .. num_draws are uniform, one a parameter.

    `ranks`: shape (simulations, d). Bins hold expected counts in proportion to the ranks that fall in them. Too small a
    p-value in any parameter says that the posterior is wrong; divide the level by d where several are looked at.

    Raises `InputError` for ranks out of range or expected counts below 5 (fewer bins or more simulations are needed).
    """
    ranks = np.asarray(ranks)
    if ranks.ndim != 2 or ranks.min(initial=0) < 0 or ranks.max(initial=0) > num_draws:
        raise InputError(f"ranks must have shape (simulations, d) and lie in 0 .. {num_draws}")
    bins = min(bins, num_draws + 1)
    place = np.arange(num_draws + 1) * bins // (num_draws + 1)
    expected = np.bincount(place, minlength=bins) * len(ranks) / (num_draws + 1)
    if expected.min() < 5:
        raise InputError(
            f"{len(ranks)} simulations are too few for {bins} bins: at least 5 expected in each are needed"
        )
    from scipy.special import gammaincc

    counts = np.stack([np.bincount(place[column], minlength=bins) for column in ranks.T], axis=1)
    statistic = np.sum((counts - expected[:, None]) ** 2 / expected[:, None], axis=0)
    return gammaincc(0.5 * (bins - 1), 0.5 * statistic)


def _checked(draws: Any, truths: Any) -> tuple[np.ndarray, np.ndarray]:
    draws, truths = np.asarray(draws, float), np.asarray(truths, float)
    if draws.ndim != 3 or truths.shape != (draws.shape[0], draws.shape[2]):
        raise InputError(
            f"draws (simulations, n, d) and truths (simulations, d) are wanted, got {draws.shape} and {truths.shape}"
        )
    return draws, truths
