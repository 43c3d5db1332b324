"""Zarr stores and npz files as shards."""

import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from jensen.core import InputError, StorageError
from jensen.core.archives import read_npz
from jensen.datasets.sources._base import Column, plain


class NpzShard:
    """One npz file of arrays with a common leading axis: one block, for a member of an archive is read whole."""

    whole = True

    def __init__(self, path: Path):
        self.path = path
        try:
            with zipfile.ZipFile(path) as archive:
                heads = {n.removesuffix(".npy"): _header(archive, n, path) for n in archive.namelist()}
        except (zipfile.BadZipFile, OSError, ValueError, EOFError) as error:
            raise _damaged(path, error) from error
        self.columns, rows = _by_rows(heads, path)
        self.blocks = (rows,)

    def read(self, blocks: list[int], names: tuple[str, ...], low: int, high: int) -> dict[str, np.ndarray]:
        """Rows of the file. Raises `InputError` where it cannot be read; nothing is unpickled."""
        try:
            return {name: _native(read_npz(self.path, f"{name}.npy")[""][low:high]) for name in names}
        except (StorageError, KeyError) as error:
            raise _damaged(self.path, error) from error


class ZarrShard:
    """One Zarr group of arrays with a common leading axis: its blocks are the largest chunks along it."""

    whole = True

    def __init__(self, path: Path):
        zarr = _zarr()
        self.path = path
        try:
            arrays = dict(sorted(zarr.open_group(str(path), mode="r").arrays()))  # listed in no order
            heads = {name: (array.dtype, tuple(array.shape)) for name, array in arrays.items()}
            empty = {name: (array.nchunks_initialized, array.nchunks) for name, array in arrays.items()}
        except Exception as error:  # a store can break in as many ways as it has codecs
            raise _damaged(path, error) from error
        for name, (there, wanted) in empty.items():
            if there < wanted:
                raise InputError(
                    f"Array {name!r} of {path} lacks {wanted - there} of its {wanted} chunks, which Zarr would read as "
                    "fill values: it is truncated, or chunks of nothing else were left out when it was written; write "
                    "it again under zarr.config.set({'array.write_empty_chunks': True})"
                )
        self.columns, rows = _by_rows(heads, path)
        sizes = [(array.shards or array.chunks)[0] for array in arrays.values()]
        size = max(1, min(max(sizes), rows))
        self.blocks = tuple(min(size, rows - at) for at in range(0, rows, size))
        self._size = size

    def read(self, blocks: list[int], names: tuple[str, ...], low: int, high: int) -> dict[str, np.ndarray]:
        """Rows of neighbouring blocks. Raises `InputError` where they cannot be decoded."""
        begin = blocks[0] * self._size
        try:
            group = _zarr().open_group(str(self.path), mode="r")
            return {name: _native(group[name][begin + low : begin + high]) for name in names}
        except Exception as error:
            raise _damaged(self.path, error) from error


def _native(values: Any) -> np.ndarray:
    """In the machine's order of bytes."""
    values = np.asarray(values)
    return values.astype(values.dtype.newbyteorder("="))


def _zarr() -> Any:
    try:
        import zarr
    except ImportError as error:
        raise InputError("Zarr stores are read by the package zarr: pip install 'jensen[zarr]'") from error
    return zarr


def _header(archive: zipfile.ZipFile, member: str, path: Path) -> tuple[Any, tuple[int, ...]]:
    """dtype and shape of an array in an archive, without its data."""
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
        if read is None:
            raise ValueError(f"{member} has version {version} of the npy format")
        shape, _, dtype = read(file)
    stored, wanted = archive.getinfo(member).file_size, math.prod(shape) * dtype.itemsize
    if stored < wanted:
        raise ValueError(f"{member} holds {stored} bytes of {wanted}")
    return dtype, shape


def _by_rows(heads: dict[str, tuple[Any, tuple[int, ...]]], path: Path) -> tuple[dict[str, Column | None], int]:
    if not heads:
        raise InputError(f"{path} holds no array")
    lengths = {name: shape[0] if shape else None for name, (_, shape) in heads.items()}
    if len(set(lengths.values())) != 1 or None in lengths.values():
        raise InputError(f"The arrays of {path} have no common leading axis of rows: {lengths}")
    columns = {
        name: Column(plain(name, dtype, str(path)), shape[1:]) if np.dtype(dtype).kind in "fiub" else None
        for name, (dtype, shape) in heads.items()
    }
    return columns, next(iter(lengths.values())) or 0


def _damaged(path: Path, error: Exception) -> InputError:
    words = str(error).splitlines()[0] if str(error) else type(error).__name__
    return InputError(f"{path} cannot be read ({words}): it is truncated, damaged or foreign; copy or write it again")
