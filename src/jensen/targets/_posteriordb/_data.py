"""posteriordb's data sets, reference draws and their summaries, as the models want them."""

import functools
import os
from typing import Any

import numpy as np
from jaxtyping import Float

from jensen import datasets

_COUNTS = frozenset({"k", "age_discrete"})  # fields that Stan declares as arrays of integers


def data_set(name: str) -> dict[str, Any]:
    """Fields of the data set `name`: arrays read-only, real unless Stan declares integers; sizes Python integers.

    Raises `DatasetError` where the archive is not below $JENSEN_DATA or is damaged.
    """
    return dict(_data_set(_place(), name))


def reference_draws(name: str) -> Float[np.ndarray, "chain draw d"]:
    """Reference draws of the posterior `name`, read-only. Raises `DatasetError` as `data_set` does."""
    return _reference_draws(_place(), name)


def reference_summary(name: str) -> dict[str, Any]:
    """Names of the parameters, moments and effective sample sizes of the reference draws. Raises `DatasetError`."""
    return _summaries(_place())[name]


def _place() -> str | None:
    """Where `datasets.load` will look: the key of the caches, so that another folder is read anew."""
    return os.environ.get("JENSEN_DATA")


@functools.lru_cache(maxsize=64)
def _data_set(place: str | None, name: str) -> dict[str, Any]:
    return {field: _value(field, value) for field, value in datasets.load("posteriordb", data=name).items()}


@functools.lru_cache(maxsize=64)
def _reference_draws(place: str | None, name: str) -> Float[np.ndarray, "chain draw d"]:
    draws = datasets.load("posteriordb/reference_draws", posterior=name)["draws"].astype(np.float64)
    draws.setflags(write=False)
    return draws


@functools.lru_cache(maxsize=4)
def _summaries(place: str | None) -> dict[str, Any]:
    return datasets.load("posteriordb/reference_summaries")


def _value(field: str, value: Any) -> Any:
    if isinstance(value, int):
        return value
    array = np.asarray(value, np.int64 if field in _COUNTS else np.float64)
    array.setflags(write=False)
    return array
