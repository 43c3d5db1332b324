"""`open_rows`: a file, or a folder of shards of one format, as rows."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from jensen.core import InputError
from jensen.datasets.sources._arrays import NpzShard, ZarrShard
from jensen.datasets.sources._base import Column, Columns, Pick, RowSource, digest
from jensen.datasets.sources._tables import ArrowShard, ParquetShard

FORMATS: dict[str, tuple[str, Any]] = {
    ".parquet": ("Parquet", ParquetShard),
    ".pq": ("Parquet", ParquetShard),
    ".arrow": ("Arrow", ArrowShard),
    ".feather": ("Arrow", ArrowShard),
    ".ipc": ("Arrow", ArrowShard),
    ".npz": ("npz", NpzShard),
    ".zarr": ("Zarr", ZarrShard),
}
EDGE = 2**16  # bytes at the beginning and the end of a file that its mark is made of


class Shards(RowSource):
    """The rows of shards with the same columns, in the order of the shards' names."""

    def __init__(self, shards: list[Any], columns: Columns):
        first = shards[0]
        self._pick = Pick(columns, _usable(first, columns))
        for shard in shards[1:]:
            _check_same(first, shard, self._pick.names)
        self.columns = self._pick.columns
        places = [(i, j) for i, shard in enumerate(shards) for j, rows in enumerate(shard.blocks) if rows]
        self._shards, self._places = shards, places
        self._kept: tuple[tuple[int, int], dict[str, np.ndarray]] | None = None
        self.blocks = tuple(shards[i].blocks[j] for i, j in places)
        self.units = tuple(i for i, _ in places)
        if not places:
            raise InputError(f"The {len(shards)} shard(s) beside {first.path} hold no row")
        self.mark = digest(list(self._pick.parts.items()), [(s.path.name, s.blocks, _edges(s.path)) for s in shards])

    def _read(self, block: int, count: int, low: int, high: int) -> dict[str, np.ndarray]:
        shard = self._shards[self._places[block][0]]
        inner, names = [j for _, j in self._places[block : block + count]], self._pick.names
        if not shard.whole:
            return self._pick.take(shard.read(inner, names, low, high))
        if self._kept is None or self._kept[0] != (block, count):  # decoded once, for who reads it in parts
            self._kept = None
            rows = sum(self.blocks[block : block + count])
            self._kept = (block, count), shard.read(inner, names, 0, rows)
        return self._pick.take({name: values[low:high] for name, values in self._kept[1].items()})

    def where(self, block: int, row: int) -> str:
        shard, inner = self._places[block]
        return f"row {sum(self._shards[shard].blocks[:inner]) + row} of {self._shards[shard].path}"


def open_rows(path: str | Path, columns: Columns = None) -> RowSource:
    """The rows of a file or of a folder of shards, to be read block by block.

    Formats, by their endings: Parquet (`.parquet`, `.pq`; a block is a row group), Arrow IPC files (`.arrow`,
    `.feather`, `.ipc`; a record batch), npz (`.npz`; the file) and Zarr groups (`.zarr`; a chunk of rows), the last by
    the package `zarr`. A folder holds shards of one format, read in the order of their names; hidden files and those
    that begin with an underscore are passed over. Here only headers are read, and of them all: what is in the columns
    is looked at when it is read.

    Args:
        path: the file or folder.
        columns: names to take (all where None), or a dict from names of your own to a column, or to a list of columns
            that are stacked to vectors: `{"x": ["x0", "x1"], "y": "label"}`.

    Raises:
        InputError: if nothing is there, a shard is truncated or damaged, formats are mixed, the columns or types of a
            shard differ from those of the first, or a column does not hold plain numbers.
        UnknownName: for a column that is not there.
    """
    path = Path(path)
    files = _files(path)
    kinds = {FORMATS[file.suffix.lower()][0] for file in files}
    if len(kinds) > 1:
        examples = {FORMATS[file.suffix.lower()][0]: file.name for file in reversed(files)}
        raise InputError(
            f"{path} mixes formats: {', '.join(f'{kind} ({name})' for kind, name in sorted(examples.items()))}; "
            "keep one format a folder, and put folders together with jensen.datasets.join_rows"
        )
    return Shards([FORMATS[file.suffix.lower()][1](file) for file in files], columns)


def _files(path: Path) -> list[Path]:
    known = ", ".join(FORMATS)
    if not path.exists():
        raise InputError(f"There is nothing at {path}: give a file or a folder of {known}")
    if path.suffix.lower() in FORMATS:
        return [path]
    if not path.is_dir():
        raise InputError(f"{path} is of none of the formats {known}: convert it")
    entries = sorted(p for p in path.iterdir() if not p.name.startswith((".", "_")))
    strange = [p.name for p in entries if p.suffix.lower() not in FORMATS]
    if strange:
        raise InputError(f"{path} holds {strange[0]!r}, which is of none of the formats {known}: move it elsewhere")
    if not entries:
        raise InputError(f"{path} is empty: a folder of {known} is wanted")
    return entries


def _usable(shard: Any, wanted: Columns) -> dict[str, Column]:
    """The columns of numbers; where no choice was made, or a bad one, the others are an error."""
    bad = [name for name, column in shard.columns.items() if column is None]
    asked = set(shard.columns) if wanted is None else _named(wanted)
    for name in bad:
        if name in asked:
            raise InputError(
                f"Column {name!r} of {shard.path} does not hold plain numbers (categories differ between shards, times "
                "have units): encode it as numbers, or leave it out with columns=[...]"
            )
    return {name: column for name, column in shard.columns.items() if column is not None}


def _named(wanted: Any) -> set[str]:
    values = wanted.values() if hasattr(wanted, "values") else wanted
    return {part for value in values for part in ((value,) if isinstance(value, str) else value)}


def _check_same(first: Any, other: Any, names: tuple[str, ...]) -> None:
    for name in names:
        if name not in other.columns:
            raise InputError(f"{other.path} has no column {name!r}, which {first.path} has: all shards need it")
        if other.columns[name] != first.columns[name]:
            raise InputError(
                f"Column {name!r} is {other.columns[name] or 'no number'} in {other.path} and {first.columns[name]} in "
                f"{first.path}: write all shards with one type"
            )


def _edges(path: Path) -> str:
    """A hash of a file's size, beginning and end (a Parquet or Arrow footer); of a store, of all sizes."""
    if path.is_dir():
        return digest(sorted((str(p.relative_to(path)), p.stat().st_size) for p in path.rglob("*") if p.is_file()))
    size, state = path.stat().st_size, hashlib.sha256()
    with path.open("rb") as file:
        state.update(file.read(EDGE))
        file.seek(max(0, size - EDGE))
        state.update(file.read(EDGE))
    return f"{size}:{state.hexdigest()[:16]}"
