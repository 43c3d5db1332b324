"""CSV and Parquet files as polars frames, with checks at the door."""

import csv
import difflib
import io
from pathlib import Path
from typing import Any

from jensen.core import InputError

FREE_CELLS, CELLS_PER_BYTE = 2**27, 50  # a Parquet file may unpack to as many
MISSING = ("", "NA", "NaN", "nan", "null")


def read_table(path: str | Path) -> Any:
    """The polars frame in the CSV (`.csv`, `.tsv`, `.txt`) or Parquet (`.parquet`, `.pq`) file at `path`.

    CSV is UTF-8 with one header line; empty fields, `NA`, `NaN`, `nan` and `null` are missing values. Types are
    inferred from the whole file. Infinite values are kept: who uses a column decides about them.

    Raises `InputError` for a file that is missing, empty, truncated, of another kind or not UTF-8, for rows of unequal
    length (with the line) and for two columns of one name.
    """
    path = Path(path)
    _check_file(path)
    kind = path.suffix.lower()
    if kind in (".parquet", ".pq"):
        frame = _read_parquet(path)
    elif kind in (".csv", ".tsv", ".txt"):
        frame = _read_csv(path, "\t" if kind == ".tsv" else ",")
    else:
        raise InputError(f"{path} is neither .csv, .tsv, .txt nor .parquet, .pq: convert it, or pass a DataFrame")
    if not frame.height:
        raise InputError(f"{path} has a header and no rows")
    return frame


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise InputError(f"{path} is a folder, not a file")
    if not path.exists():
        near = []
        if path.parent.is_dir():
            near = difflib.get_close_matches(path.name, [p.name for p in path.parent.iterdir()], n=1)
        raise InputError(f"There is no file {path}" + (f". Did you mean {near[0]!r}?" if near else ""))
    if not path.stat().st_size:
        raise InputError(f"{path} is empty")


def _read_parquet(path: Path) -> Any:
    import polars as pl
    from pyarrow import parquet

    with path.open("rb") as file:
        first = file.read(4)
        file.seek(max(0, path.stat().st_size - 4))
        last = file.read(4)
    if first != b"PAR1":
        raise InputError(f"{path} is not a Parquet file: it begins with {first!r}")
    if last != b"PAR1":
        raise InputError(f"{path} is truncated: the end of the Parquet file is missing, copy it again")
    # Arrow's reader, for that of polars panics at damaged pages.
    try:
        with parquet.ParquetFile(path) as file:
            _check_cells(path, file.metadata.num_rows * max(1, file.metadata.num_columns))
            table = file.read()
        table.validate(full=True)
        for field in table.schema:
            _check_words(field)
        frame = pl.DataFrame(table)
    except (InputError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # ArrowInvalid, OSError, UnicodeDecodeError ...; a panic of polars is no Exception
        words = " ".join(str(error).split())[:300]
        raise InputError(f"{path} cannot be read as Parquet, it may be damaged: {words}") from error
    names = list(frame.columns)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"{path} has two columns named {', '.join(map(repr, twice))}: rename one")
    return frame


def _check_words(field: Any) -> None:
    """Reads every name and note of an Arrow field: polars panics where one is not UTF-8, this raises."""
    if "\ufffd" in field.name:  # what Arrow's Python puts in the place of bytes that are none
        raise ValueError("the name of a column is not UTF-8")
    for word in (*(field.metadata or {}).keys(), *(field.metadata or {}).values()):
        word.decode()
    for i in range(field.type.num_fields):
        _check_words(field.type.field(i))


def _check_cells(path: Path, cells: int) -> None:
    """A constant column of any length takes a few bytes: what the file promises is held against its size."""
    limit = max(FREE_CELLS, CELLS_PER_BYTE * path.stat().st_size)
    if cells > limit:
        raise InputError(f"{path} promises {cells:,} cells in {path.stat().st_size:,} bytes: it is damaged or a bomb")


def _read_csv(path: Path, separator: str) -> Any:
    import polars as pl

    text = _decode(path, path.read_bytes())
    _check_rows(path, text, separator)
    try:
        return pl.read_csv(
            io.BytesIO(text.encode()),
            separator=separator,
            null_values=list(MISSING),
            infer_schema_length=None,
            raise_if_empty=False,
        )
    except pl.exceptions.PolarsError as error:
        raise InputError(f"{path} cannot be read as CSV: {str(error).splitlines()[0]}") from error


def _decode(path: Path, data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError(f"{path} is UTF-16: save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InputError(
            f"{path} is not UTF-8: byte 0x{data[error.start]:02x} at offset {error.start}, line {line}. Save it as "
            f"UTF-8, as with: iconv -f latin1 -t utf-8 {path.name}"
        ) from error
    if "\0" in text:
        raise InputError(
            f"{path} holds zero bytes, first on line {text[: text.index(chr(0))].count(chr(10)) + 1}: not a CSV"
        )
    return text


def _check_rows(path: Path, text: str, separator: str) -> None:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        header = next(reader, [])
        _check_header(path, header, separator)
        for row in reader:
            if row and len(row) != len(header):
                raise InputError(
                    f"{path}, line {reader.line_num}: {len(row)} fields where the header has {len(header)}; put quotes "
                    "around fields that hold the separator"
                )
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: {error}") from error


def _check_header(path: Path, header: list[str], separator: str) -> None:
    if len(header) == 1:
        for other in (";", "\t", ","):
            if other != separator and other in header[0]:
                raise InputError(f"{path} is separated by {other!r}, not {separator!r}: save it with {separator!r}")
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise InputError(f"{path} has two columns named {', '.join(map(repr, twice))}: rename one")
    if any(not name.strip() for name in header):
        raise InputError(
            f"{path}: column {[bool(n.strip()) for n in header].index(False) + 1} has no name in the header"
        )
