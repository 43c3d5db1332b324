"""Rows that are read while an autoencoder trains: what it must know of them beforehand, and rows in units of it."""

import hashlib
import math
from typing import Any

import numpy as np

from jensen.core import InputError
from jensen.datasets.sources import Column, RowSource
from jensen.vae._build import chosen_likelihood
from jensen.vae.likelihoods import Categorical, Likelihood

BEGUN_AT = 10_000  # rows of the source that likelihoods and networks are begun at


class ScaledRows(RowSource):
    """(x - centre) / spread of a source with one column of vectors, in the given width of numbers."""

    def __init__(self, source: RowSource, centre: np.ndarray, spread: np.ndarray, dtype: Any = np.float32):
        self._source, self._name = source, column_of(source)
        self._centre, self._spread, self._dtype = centre, spread, np.dtype(dtype)
        self.blocks, self.units = source.blocks, source.units
        self.columns = {self._name: Column(self._dtype, source.columns[self._name].shape)}
        scale = hashlib.sha256(centre.tobytes() + spread.tobytes()).hexdigest()[:16]
        self.mark = f"{source.mark}/{scale}/{self._dtype}"

    def _read(self, block: int, count: int, low: int, high: int) -> dict[str, np.ndarray]:
        x = self._source.read(block, low, high, count)[self._name]
        return {self._name: ((x - self._centre) / self._spread).astype(self._dtype)}

    def where(self, block: int, row: int) -> str:
        return self._source.where(block, row)


class Passed:
    """What one pass over a source finds: ranges, means and deviations of columns, and its first rows."""

    def __init__(self, source: RowSource):
        name, found = column_of(source), []
        n = source.columns[name].shape[0]
        count, mean, squares = 0, np.zeros(n), np.zeros(n)
        low, high = np.full(n, math.inf), np.full(n, -math.inf)
        self.binary = True  # whether all values are 0 or 1
        for block in range(len(source.blocks)):
            x = source.read(block)[name].astype(np.float64)
            # moments of blocks put together, which does not lose digits as sums of squares do
            own, total = x.mean(0), count + len(x)
            squares += ((x - own) ** 2).sum(0) + (own - mean) ** 2 * count * len(x) / total
            mean, count = mean + (own - mean) * len(x) / total, total
            self.binary = self.binary and bool(np.all((x == 0) | (x == 1)))
            low, high = np.minimum(low, x.min(0)), np.maximum(high, x.max(0))
            if sum(map(len, found)) < BEGUN_AT:
                found.append(x[:BEGUN_AT])
        self.low, self.high, self.mean, self.deviation = low, high, mean, np.sqrt(squares / count)
        self.rows = np.concatenate(found)[:BEGUN_AT]


def column_of(source: RowSource) -> str:
    """The name of the one column, of vectors. Raises `InputError` for other sources."""
    shapes = {name: column.shape for name, column in source.columns.items()}
    if len(shapes) != 1 or len(next(iter(shapes.values()))) != 1 or 0 in next(iter(shapes.values())):
        raise InputError(
            f"An autoencoder wants a source with one column of vectors, got {shapes}: put columns together when the "
            "source is opened, open_rows(..., columns={'x': [...]})"
        )
    return next(iter(shapes))


def likelihood_of(wanted: Any, source: RowSource, passed: Passed) -> Likelihood:
    """The likelihood by name or as it is, checked on every row by a second pass.

    Raises `UnknownName`, and `InputError` for values outside its support.
    """
    if wanted == "auto":
        wanted = "bernoulli" if passed.binary else "gaussian"
    if wanted == "categorical":
        found: Likelihood = Categorical(max(2, int(np.max(passed.high)) + 1))
    else:
        found = chosen_likelihood(wanted, passed.rows)
    for block in range(len(source.blocks)):
        found.check(source.read(block)[column_of(source)].astype(np.float64))
    return found
