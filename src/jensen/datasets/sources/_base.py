"""Rows that are read block by block: what every source offers, and what is checked of it."""

import abc
import dataclasses
import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, final

import numpy as np

from jensen.core import InputError, UnknownName

Columns = Mapping[str, Any] | Iterable[str] | None


@dataclasses.dataclass(frozen=True)
class Column:
    """Type and shape of the values of a column, one a row."""

    dtype: np.dtype
    shape: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"{self.dtype}{list(self.shape) if self.shape else ''}"


class RowSource(abc.ABC):
    """N rows in blocks, of which one at a time is in memory: named columns of numbers with a common leading axis.

    `columns`: what a row holds, by name. `blocks`: rows of each block. `units`: for each block the shard (file) that it
    lies in; of several processes each takes whole shards. `mark`: a digest of what the rows are, by which a checkpoint
    knows its data again.
    """

    columns: dict[str, Column]
    blocks: tuple[int, ...]
    units: tuple[int, ...]
    mark: str

    @property
    def num_rows(self) -> int:
        """N."""
        return sum(self.blocks)

    @property
    def row_bytes(self) -> int:
        """Bytes of a row in memory."""
        return sum(c.dtype.itemsize * int(np.prod(c.shape, dtype=int)) for c in self.columns.values())

    @abc.abstractmethod
    def _read(self, block: int, count: int, low: int, high: int) -> dict[str, np.ndarray]:
        """Rows low .. high - 1 of `count` neighbouring blocks of one unit, the first of which is `block`."""

    @abc.abstractmethod
    def where(self, block: int, row: int) -> str:
        """Words for people on where this row of a block, or of its neighbours after it, is."""

    def runs(self, blocks: Iterable[int], rows: int) -> list[tuple[int, int]]:
        """Neighbouring blocks of one unit put together while they hold at most `rows` rows, as (first, how many)."""
        out, held = [], 0
        for b in blocks:
            first, count = out[-1] if out else (-1, 0)
            near = out and b == first + count and self.units[b] == self.units[first]
            if near and held + self.blocks[b] <= rows:
                out[-1], held = (first, count + 1), held + self.blocks[b]
            else:
                out.append((b, 1))
                held = self.blocks[b]
        return out

    @final
    def read(self, block: int, low: int = 0, high: int | None = None, count: int = 1) -> dict[str, np.ndarray]:
        """Rows low .. high - 1 of a block, or of `count` neighbours of one unit as if they were one, checked.

        Raises `InputError` for NaN or infinite values, with the place of the first one, and where a shard is not what
        it was when it was opened.
        """
        high = sum(self.blocks[block : block + count]) if high is None else high
        rows = self._read(block, count, low, high)
        for name, column in self.columns.items():
            values = rows[name]
            if values.shape != (high - low, *column.shape) or values.dtype != column.dtype:
                raise InputError(
                    f"Column {name!r} at {self.where(block, low)} holds {values.dtype}{list(values.shape)}, and "
                    f"{high - low} rows of {column} were there when it was opened: the data changed, open them again"
                )
            if values.dtype.kind == "f":
                finite = np.isfinite(values).reshape(len(values), -1).all(1)
                if not finite.all():
                    first = int(np.argmin(finite))
                    raise InputError(
                        f"Column {name!r} is NaN, null or infinite at {self.where(block, low + first)}"
                        f" ({int(np.sum(~finite))} such rows of {high - low} read): drop or impute those rows first"
                    )
        return rows


class Pick:
    """Which columns of a table are taken, under which names: `columns` of `open_rows`, resolved.

    `parts`: for each name the columns behind it; several make one column of vectors.
    """

    def __init__(self, wanted: Columns, there: Mapping[str, Column]):
        """Raises `UnknownName` for a column that is not there, `InputError` for names or shapes that do not fit."""
        if wanted is None:
            wanted = list(there)
        if isinstance(wanted, str):
            raise InputError(f"columns must be a list of names or a dict of them, got the string {wanted!r}")
        pairs = dict(wanted) if isinstance(wanted, Mapping) else {name: name for name in wanted}
        if not pairs:
            raise InputError("columns is empty: name at least one")
        self.parts: dict[str, tuple[str, ...]] = {}
        self.columns: dict[str, Column] = {}
        for name, behind in pairs.items():
            parts = (behind,) if isinstance(behind, str) else tuple(behind)
            for part in parts:
                if part not in there:
                    raise UnknownName("column", str(part), there)
            self.parts[name] = parts
            self.columns[name] = _together(name, behind, [there[part] for part in parts])

    @property
    def names(self) -> tuple[str, ...]:
        """Every column that is read, once."""
        return tuple(dict.fromkeys(part for parts in self.parts.values() for part in parts))

    def take(self, raw: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The picked columns of those that were read."""
        out = {}
        for name, parts in self.parts.items():
            dtype = self.columns[name].dtype
            one = not self.columns[name].shape or (len(parts) == 1 and raw[parts[0]].ndim > 1)
            out[name] = raw[parts[0]] if one else np.stack([raw[part].astype(dtype) for part in parts], 1)
        return out


def _together(name: str, behind: Any, columns: list[Column]) -> Column:
    if not columns:
        raise InputError(f"columns[{name!r}] names no column")
    if isinstance(behind, str):
        return columns[0]
    if len(columns) == 1 and columns[0].shape:
        return columns[0]
    if any(c.shape for c in columns):
        raise InputError(f"columns[{name!r}] would stack columns that are vectors already: take them one by one")
    return Column(np.result_type(*(c.dtype for c in columns)), (len(columns),))


def plain(name: str, dtype: Any, where: str) -> np.dtype:
    """A dtype of plain numbers as NumPy's. Raises `InputError` for any other."""
    dtype = np.dtype(dtype)
    if dtype.kind not in "fiub":
        raise InputError(
            f"Column {name!r} of {where} holds {dtype}, which is not plain numbers: encode or leave it out"
        )
    return dtype.newbyteorder("=")


def digest(*parts: Any) -> str:
    """A short hash of plain data."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]
