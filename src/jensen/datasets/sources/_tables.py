"""Parquet and Arrow files as shards."""

from pathlib import Path
from typing import Any

import numpy as np

from jensen.core import InputError
from jensen.datasets.sources._base import Column, plain


class ParquetShard:
    """One Parquet file: its blocks are its row groups."""

    whole = True  # what is asked for is decoded whole, however little of it is wanted

    def __init__(self, path: Path):
        import pyarrow.parquet as pq

        self.path = path
        with _open(path, pq.ParquetFile) as file:
            self._metadata, schema = file.metadata, file.schema_arrow
        self.columns = {field.name: _column(field, path) for field in schema}
        self.blocks = tuple(self._metadata.row_group(i).num_rows for i in range(self._metadata.num_row_groups))

    def read(self, blocks: list[int], names: tuple[str, ...], low: int, high: int) -> dict[str, np.ndarray]:
        """Rows of row groups, which are decoded whole. Raises `InputError` for one that cannot be."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(self.path, metadata=self._metadata, page_checksum_verification=True) as file:
                table = file.read_row_groups(blocks, columns=list(names), use_threads=False)
        except (pa.ArrowException, OSError) as error:
            raise _damaged(self.path, error) from error
        return {name: _array(table.column(name).combine_chunks(), name, self.path)[low:high] for name in names}


class ArrowShard:
    """One Arrow IPC file (Feather version 2): its blocks are its record batches."""

    whole = False

    def __init__(self, path: Path):
        import pyarrow as pa

        self.path = path
        with _open(path, _ipc) as file:
            schema = file.schema
            self.columns = {field.name: _column(field, path) for field in schema}
            count = file.num_record_batches
        options = pa.ipc.IpcReadOptions(included_fields=[0])  # lengths need one column, not all
        try:
            with _ipc(path, options=options) as file:
                self.blocks = tuple(file.get_batch(i).num_rows for i in range(count))
        except (pa.ArrowException, OSError) as error:
            raise _damaged(path, error) from error

    def read(self, blocks: list[int], names: tuple[str, ...], low: int, high: int) -> dict[str, np.ndarray]:
        """Rows of record batches; of some not compressed, no more is read. Raises `InputError` if it cannot be."""
        import pyarrow as pa

        parts, at = [], 0
        try:
            with _ipc(self.path) as file:
                for block in blocks:
                    size = self.blocks[block]
                    begin, end = max(low - at, 0), min(high - at, size)
                    if begin < end:
                        batch = file.get_batch(block).slice(begin, end - begin)
                        parts.append({name: _array(batch.column(name), name, self.path) for name in names})
                    at += size
                # copied out of the mapped file, which then leaves the memory
                return {name: np.concatenate([part[name] for part in parts]) for name in names}
        except (pa.ArrowException, OSError) as error:
            raise _damaged(self.path, error) from error


def _ipc(path: Path, **options: Any) -> Any:
    import pyarrow as pa

    return pa.ipc.open_file(pa.memory_map(str(path)), **options)


def _open(path: Path, opener: Any) -> Any:
    import pyarrow as pa

    try:
        return opener(path)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(
        f"{path} cannot be read ({str(error).splitlines()[0]}): it is truncated, damaged or of another format; copy or "
        "write it again"
    )


def _column(field: Any, path: Path) -> Column | None:
    """What a field holds; None where it is nothing that can be used, which matters only if it is asked for."""
    import pyarrow as pa

    kind, shape = field.type, ()
    while pa.types.is_fixed_size_list(kind):
        kind, shape = kind.value_type, (*shape, kind.list_size)
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        return None
    return Column(plain(field.name, kind.to_pandas_dtype(), str(path)), shape)


def _array(values: Any, name: str, path: Path) -> np.ndarray:
    """An Arrow array as NumPy's; a null among numbers without NaN is refused here, else it becomes NaN."""
    import pyarrow as pa

    shape = []
    while pa.types.is_fixed_size_list(values.type):
        if values.null_count:
            raise InputError(f"Column {name!r} of {path} holds {values.null_count} nulls: drop or impute those rows")
        shape.append(values.type.list_size)
        values = values.flatten()
    if values.null_count and not pa.types.is_floating(values.type):
        row = int(np.argmax(np.asarray(values.is_null())))
        raise InputError(
            f"Column {name!r} of {path} holds {values.null_count} nulls, one {row} rows into the block read: drop or "
            "impute those rows first"
        )
    flat = values.to_numpy(zero_copy_only=False)
    return flat.reshape(-1, *shape) if shape else flat
