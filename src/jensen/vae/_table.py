"""A table at the door of the estimator: numbers, all finite, or an error that says where they are not."""

from typing import Any

import numpy as np

from jensen.core import InputError

SHOWN = 5  # columns named in an error


def checked(estimator: Any, X: Any, reset: bool) -> np.ndarray:
    """X in double precision, as scikit-learn checks it; `reset` keeps its columns' number and names.

    Raises `InputError` for columns of text and numbers that are not finite, `ValueError` for what else scikit-learn
    refuses.
    """
    from sklearn.utils.validation import validate_data

    try:
        found = validate_data(estimator, X, reset=reset, dtype=np.float64, ensure_all_finite=False)
    except (TypeError, ValueError) as error:
        text = _no_numbers(X)
        if not text:
            raise
        some = ", ".join(map(repr, text[:SHOWN])) + (", ..." if len(text) > SHOWN else "")
        raise InputError(
            f"Columns {some} of X hold no numbers ({len(text)} of {X.shape[1]}): encode them "
            "(sklearn.preprocessing.OneHotEncoder) or leave them out"
        ) from error
    found = np.asarray(found)
    bad = ~np.isfinite(found)
    if np.any(bad):
        row, column = np.argwhere(bad)[0]
        raise InputError(
            f"X holds NaN or infinity in {int(np.sum(np.any(bad, 1)))} of {len(found)} rows, first in row {row}, "
            f"column {column}: drop these rows, or fill them (sklearn.impute)"
        )
    return found


def _no_numbers(X: Any) -> list[str]:
    """Names of the columns of a data frame that cannot be read as numbers; none of what is no frame."""
    if not hasattr(X, "columns") or not hasattr(X, "shape"):
        return []
    return [str(name) for name in X.columns if not _numeric(X[name])]


def _numeric(column: Any) -> bool:
    try:
        np.asarray(column, np.float64)
    except (TypeError, ValueError):
        return False
    return True
