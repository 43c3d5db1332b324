"""Plain data in strict JSON: NaN and infinities are spelled out, and what JSON has no word for becomes text."""

import json
import math
from typing import Any

import numpy as np

_TAG = "$float"
_NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def encode(value: Any) -> Any:
    """`value` as JSON can hold it: NaN and the like as `{"$float": "nan"}`, tuples as lists, the rest by `str`."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, np.generic):
        return encode(value.item())
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {_TAG: str(float(value))}
    if isinstance(value, dict):
        return {str(name): encode(part) for name, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [encode(part) for part in value]
    if getattr(value, "ndim", None) == 0:
        return encode(np.asarray(value).item())
    return str(value)


def decode(value: Any) -> Any:
    """The inverse of `encode` (tuples come back as lists)."""
    if isinstance(value, dict):
        if set(value) == {_TAG} and value[_TAG] in _NOT_FINITE:
            return _NOT_FINITE[value[_TAG]]
        return {name: decode(part) for name, part in value.items()}
    if isinstance(value, list):
        return [decode(part) for part in value]
    return value


def dumps(value: Any) -> str:
    """Strict, indented JSON of `encode(value)`."""
    return json.dumps(encode(value), indent=1, allow_nan=False, ensure_ascii=False)


def loads(text: str) -> Any:
    """The plain data in `text`. Raises `ValueError` for text that is not strict JSON, also for nesting without end."""

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is not JSON")

    try:
        return decode(json.loads(text, parse_constant=refuse))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
