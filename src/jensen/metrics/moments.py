"""How far the marginals of draws are from those of reference draws."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from jensen.core import InputError

NORMAL_IQR = 1.3489795003921634  # interquartile range of N(0, 1)
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class Comparison:
    """Errors of each of d scalar parameters against reference draws.

    `names`: of the parameters, `theta[0]` counted from zero. `median_error`: (median - reference median) / reference
    robust standard deviation, with robust sd = IQR / 1.349. `width_ratio`: (q95 - q05) / (reference q95 - q05).
    """

    names: tuple[str, ...]
    median_error: Float[np.ndarray, " d"] = field(repr=False)
    width_ratio: Float[np.ndarray, " d"] = field(repr=False)

    @property
    def worst_median(self) -> float:
        """Largest absolute median error, in robust standard deviations; infinite if any is NaN."""
        return _largest(np.abs(self.median_error))

    @property
    def worst_width(self) -> float:
        """Largest absolute deviation of a width ratio from one; infinite if any is NaN."""
        return _largest(np.abs(self.width_ratio - 1.0))

    def agrees(self, median: float = 0.15, width: float = 0.15) -> bool:
        """Whether every median is within `median` robust sd and every width within the fraction `width`."""
        return self.worst_median <= median and self.worst_width <= width

    def __str__(self) -> str:
        if not self.names:
            return "no parameters"
        i, j = (int(np.argmax(np.abs(e))) for e in (self.median_error, self.width_ratio - 1.0))
        return (
            f"worst median {self.median_error[i]:+.3f} robust sd ({self.names[i]}), "
            f"worst width ratio {self.width_ratio[j]:.3f} ({self.names[j]})"
        )


def compare_to_reference(draws: Any, reference: Any) -> Comparison:
    """Median errors and width ratios of `draws` against `reference`, for every scalar parameter of the reference.

    Both are dicts of arrays with leading axis draws, or arrays of shape (n, d); of dicts, names that only `draws` has
    are not compared. NaN draws give NaN errors. A parameter without spread in the reference has error 0 and ratio 1
    where the draws are equal to it, else infinite ones.

    Raises `InputError` for a missing name, a shape that differs, or fewer than 2 draws.
    """
    names, ours, theirs = _columns(draws, reference)
    low, first, median, third, high = np.quantile(ours, QUANTILES, axis=0)
    ref_low, ref_first, ref_median, ref_third, ref_high = np.quantile(theirs, QUANTILES, axis=0)
    del first, third
    error = _divide(median - ref_median, (ref_third - ref_first) / NORMAL_IQR, 0.0)
    return Comparison(names, error, _divide(high - low, ref_high - ref_low, 1.0))


def _largest(errors: np.ndarray) -> float:
    return float(np.max(np.where(np.isnan(errors), np.inf, errors), initial=0.0))


def _divide(a: np.ndarray, b: np.ndarray, where_both_vanish: float) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((a == 0) & (b == 0), where_both_vanish, a / b)


def _columns(draws: Any, reference: Any) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """(names, draws (n, d), reference (m, d)) in the order of the reference."""
    if isinstance(draws, Mapping) != isinstance(reference, Mapping):
        raise InputError("draws and reference must both be dicts of arrays, or both be arrays of shape (n, d)")
    if not isinstance(reference, Mapping):
        draws, reference = {"z": draws}, {"z": reference}
    names, ours, theirs = [], [], []
    for name, value in reference.items():
        if name not in draws:
            raise InputError(f"draws lack {name!r}: they hold {', '.join(map(repr, draws)) or 'nothing'}")
        a, b = np.asarray(draws[name], float), np.asarray(value, float)
        if a.ndim == 0 or b.ndim == 0 or a.shape[1:] != b.shape[1:] or min(len(a), len(b)) < 2:
            raise InputError(
                f"{name!r} must have at least 2 draws on its leading axis and equal shapes after it, got {a.shape} and "
                f"{b.shape}"
            )
        names += [name if b.ndim == 1 else f"{name}[{','.join(map(str, i))}]" for i in np.ndindex(b.shape[1:])]
        ours.append(a.reshape(len(a), -1))
        theirs.append(b.reshape(len(b), -1))
    if not names:
        raise InputError("The reference holds no parameters")
    return tuple(names), np.concatenate(ours, 1), np.concatenate(theirs, 1)
