"""The columns of a table that a formula names, in the few types that design matrices are made of."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jensen.core import InputError


def as_table(frame: Any) -> Any:
    """`frame` as columns: a polars or pandas frame, a dict of arrays, or the path of a CSV or Parquet file."""
    if isinstance(frame, str | Path):
        from jensen.datasets import read_table

        return read_table(frame)
    if isinstance(frame, Mapping) or (hasattr(frame, "columns") and hasattr(frame, "__getitem__")):
        return frame
    raise InputError(
        f"The data must be a polars or pandas DataFrame, a dict of arrays or a path, got {type(frame).__name__}"
    )


def column_names(table: Any) -> tuple[str, ...]:
    """Names of the columns of `table`. Raises `InputError` for a name that occurs twice."""
    names = tuple(str(name) for name in (table.keys() if isinstance(table, Mapping) else table.columns))
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"The data have two columns named {', '.join(map(repr, twice))}: rename one")
    return names


def select(table: Any, columns: tuple[str, ...], categorical: tuple[str, ...]) -> Any:
    """A pandas frame of `columns`: numbers as float64, text as text, categories as categories; missing values kept.

    Whole numbers stay int64 where the column is `categorical`, so that their levels read `1`, not `1.0`.
    Raises `InputError` for a column that is neither numbers nor text, for columns of unequal length, and for no rows.
    """
    import pandas as pd

    series = {name: _plain(table[name], name, name in categorical) for name in columns}
    lengths = {name: len(values) for name, values in series.items()}
    if len(set(lengths.values())) > 1:
        words = ", ".join(f"{name} {n}" for name, n in lengths.items())
        raise InputError(f"Columns must have one length, got {words}")
    if not series or not next(iter(lengths.values())):
        raise InputError("The data have no rows")
    return pd.DataFrame(series)


def _plain(column: Any, name: str, categorical: bool) -> Any:
    import pandas as pd

    if type(column).__module__.startswith("polars"):
        column = _from_polars(column)
    elif not isinstance(column, pd.Series):
        column = np.asarray(column)
        if column.ndim != 1:
            raise InputError(f"Column {name!r} must have one dimension, got shape {column.shape}")
        column = pd.Series(column)
    return _plain_pandas(column.reset_index(drop=True), name, categorical)


def _from_polars(column: Any) -> Any:
    import pandas as pd
    import polars as pl

    if isinstance(column.dtype, pl.Enum):
        return pd.Series(pd.Categorical(column.to_list(), categories=column.dtype.categories.to_list(), ordered=True))
    if column.dtype == pl.Categorical or column.dtype == pl.String:
        return pd.Series(column.to_list(), dtype=object)
    if column.dtype.is_decimal():
        column = column.cast(pl.Float64)
    if column.dtype.is_numeric() or column.dtype == pl.Boolean:
        return pd.Series(column.to_numpy())
    return pd.Series(column.to_list(), dtype=object)


def _plain_pandas(column: Any, name: str, categorical: bool) -> Any:
    import pandas as pd
    from pandas.api import types

    if isinstance(column.dtype, pd.CategoricalDtype):
        return column
    if types.is_complex_dtype(column.dtype) or types.is_datetime64_any_dtype(column.dtype):
        raise InputError(f"Column {name!r} has type {column.dtype}: formulas read numbers, text and categories")
    if types.is_bool_dtype(column.dtype) and not types.is_object_dtype(column.dtype):
        return column.astype("float64")
    if types.is_integer_dtype(column.dtype) and not column.isna().any() and categorical:
        return column.astype("int64")
    if types.is_numeric_dtype(column.dtype):
        return column.astype("float64")
    return _from_objects(column, name)


def _from_objects(column: Any, name: str) -> Any:
    import pandas as pd

    kept = column[~column.isna()]
    if all(isinstance(value, str) for value in kept):
        return pd.Series([value if isinstance(value, str) else None for value in column], dtype=object)
    if all(isinstance(value, int | float | np.number | np.bool_) for value in kept):
        return column.astype("float64")
    kinds = ", ".join(sorted({type(value).__name__ for value in kept}))
    raise InputError(f"Column {name!r} holds {kinds}: formulas read numbers or text, one of them in a column")


def complete_rows(frame: Any, drop: bool) -> tuple[Any, np.ndarray]:
    """`frame` without rows that miss a value, and which rows were kept (a boolean an input row).

    Raises `InputError`, with columns and counts, for infinite values, and for missing ones unless `drop`. Dropped rows
    are counted in a warning.
    """
    from pandas.api import types

    infinite = {
        name: int(np.isinf(frame[name].to_numpy(dtype=float)).sum())
        for name in frame.columns
        if types.is_numeric_dtype(frame[name].dtype)
    }
    if any(infinite.values()):
        raise InputError(f"Infinite values in {_counts(infinite)}: correct them or make them missing")
    frame = _without_unused_levels(frame)
    missing = frame.isna()
    counts = {name: int(missing[name].sum()) for name in frame.columns}
    kept = ~missing.any(axis=1).to_numpy()
    if kept.all():
        return frame, kept
    if not drop:
        raise InputError(
            f"Missing values in {_counts(counts)}: fill them in, or pass missing='drop' to leave out their rows"
        )
    if not kept.any():
        raise InputError(f"No row is complete: missing values in {_counts(counts)}")
    warnings.warn(
        f"{int((~kept).sum())} of {len(kept)} rows dropped: missing values in {_counts(counts)}", stacklevel=3
    )
    frame = frame[kept].reset_index(drop=True)
    for name in frame.columns:
        if types.is_string_dtype(frame[name].dtype):
            frame[name] = frame[name].astype(object)
    return _without_unused_levels(frame), kept


def _without_unused_levels(frame: Any) -> Any:
    """A level that never occurs would be a column of zeros."""
    import pandas as pd

    for name in frame.columns:
        if isinstance(frame[name].dtype, pd.CategoricalDtype):
            frame[name] = frame[name].cat.remove_unused_categories()
    return frame


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name!r} ({count} rows)" for name, count in counts.items() if count)


def levels_of(column: Any) -> list[Any]:
    """The levels of a column: those of an ordered category that occur, in their order, else the sorted values."""
    import pandas as pd

    if isinstance(column.dtype, pd.CategoricalDtype):
        present = set(column.unique())
        levels = [level for level in column.cat.categories if level in present]
        return levels if column.cat.ordered else sorted(levels, key=str)
    return sorted(set(column.tolist()))
