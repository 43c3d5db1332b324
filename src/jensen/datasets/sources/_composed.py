"""Rows that are computed when they are read, and sources one after the other."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jensen.core import InputError
from jensen.datasets.sources._base import Column, RowSource, digest, plain


class GeneratedRows(RowSource):
    """Rows made by a function of their numbers."""

    def __init__(self, fn: Callable[[int, int], dict[str, Any]], num_rows: int, block: int):
        self._fn = fn
        self.blocks = tuple(min(block, num_rows - at) for at in range(0, num_rows, block))
        self.units = tuple(range(len(self.blocks)))
        self._block = block
        probe = self._make(0, min(2, num_rows))
        self.columns = {
            name: Column(plain(name, values.dtype, "the function"), values.shape[1:]) for name, values in probe.items()
        }
        again, last = self._make(0, min(2, num_rows)), self._make(num_rows - 1, num_rows)
        if any(not np.array_equal(again[name], probe[name]) for name in probe):
            raise InputError("fn gives other rows at a second call: seed it by the numbers of the rows")
        self.mark = digest(num_rows, block, {k: v.tobytes() for k, v in (probe | last).items()})

    def _make(self, low: int, high: int) -> dict[str, np.ndarray]:
        rows = self._fn(low, high)
        if not isinstance(rows, dict) or not rows:
            raise InputError(f"fn(low, high) must return a dict of arrays, got {type(rows).__name__}")
        arrays = {name: np.asarray(values) for name, values in rows.items()}
        for name, values in arrays.items():
            if values.shape[:1] != (high - low,):
                raise InputError(
                    f"fn({low}, {high}) gives {name!r} of shape {values.shape}: {high - low} rows are wanted"
                )
        return arrays

    def _read(self, block: int, count: int, low: int, high: int) -> dict[str, np.ndarray]:
        begin = block * self._block  # each is a unit of its own: `count` is one
        return self._make(begin + low, begin + high)

    def where(self, block: int, row: int) -> str:
        return f"row {block * self._block + row} of the function"


class JoinedRows(RowSource):
    """The rows of several sources, one after the other."""

    def __init__(self, sources: Sequence[RowSource]):
        self._sources = tuple(sources)
        self.columns = self._sources[0].columns
        self._places = [(s, b) for s, source in enumerate(self._sources) for b in range(len(source.blocks))]
        self.blocks = tuple(self._sources[s].blocks[b] for s, b in self._places)
        shards = {
            pair: i for i, pair in enumerate(dict.fromkeys((s, self._sources[s].units[b]) for s, b in self._places))
        }
        self.units = tuple(shards[s, self._sources[s].units[b]] for s, b in self._places)
        self.mark = digest([source.mark for source in self._sources])

    def _read(self, block: int, count: int, low: int, high: int) -> dict[str, np.ndarray]:
        source, inner = self._places[block]
        return self._sources[source].read(inner, low, high, count)

    def where(self, block: int, row: int) -> str:
        source, inner = self._places[block]
        return self._sources[source].where(inner, row)


def generate_rows(fn: Callable[[int, int], dict[str, Any]], num_rows: int, block: int = 65_536) -> RowSource:
    """Rows that `fn(low, high)` makes when they are read: a dict of arrays for the rows low .. high - 1.

    It must give the same rows at every call, whatever low and high are within a block: seed it by the number of the
    block, or use a counter-based generator that can jump (`numpy.random.Philox(key).advance(n)`). A block of `block`
    rows is what it is asked for parts of.

    Raises `InputError` for sizes below one, or a function that gives no dict of arrays, other numbers of rows than
    asked for, or other rows at a second call.
    """
    if num_rows < 1 or block < 1:
        raise InputError(f"num_rows and block must be at least 1, got {num_rows} and {block}")
    return GeneratedRows(fn, num_rows, block)


def join_rows(*sources: RowSource) -> RowSource:
    """The rows of several sources, one after the other.

    Raises `InputError` for none, or where columns or types differ.
    """
    if not sources:
        raise InputError("join_rows needs at least one source")
    for source in sources[1:]:
        if source.columns != sources[0].columns:
            told = [{name: str(c) for name, c in s.columns.items()} for s in (sources[0], source)]
            raise InputError(f"The sources have other columns or types: {told[0]} and {told[1]}")
    return JoinedRows(sources)
