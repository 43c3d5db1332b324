"""Archives that a stranger may have made: read in memory, within limits of size, unpickling and extracting nothing."""

import gzip
import io
import lzma
import math
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from jensen.core.errors import InputError, StorageError

LIMIT = 2**35  # bytes that an archive may unpack to
FREE = 2**28  # bytes that any archive may unpack to, whatever its own size
RATIO = 200  # times its own size beyond that: real arrays pack by less, a bomb by a thousand
MAX_MEMBERS = 100_000
KINDS = "fiubcUS"  # of arrays: numbers and text, neither objects nor records
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
PINNED = (*_METHODS, zipfile.ZIP_LZMA)  # of archives whose checksum is known: LZMA packs a gigabyte into a page
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}

Source = Path | bytes


@contextmanager
def reading(source: Source, what: str) -> Iterator[None]:
    """Any failure within as one `StorageError`: archives made to do harm raise two dozen kinds in zipfile and NumPy."""
    name = source if isinstance(source, Path) else "The archive"
    try:
        yield
    except FileNotFoundError as error:
        raise StorageError(f"No file {name}") from error
    except (StorageError, InputError):
        raise
    except Exception as error:
        words = " ".join(str(error).split())[:200]
        raise StorageError(f"{name} is truncated or not {what} ({type(error).__name__}: {words})") from error


def read_npz(
    source: Source,
    prefix: str = "",
    limit: int = LIMIT,
    methods: tuple[int, ...] = _METHODS,
    what: str = "an array file of Jensen",
) -> dict[str, np.ndarray]:
    """The arrays of an npz archive whose names begin with `prefix`, which is taken off.

    The sizes that headers promise are held against the archive before any memory is taken: an array has as many bytes
    as its shape and type say, and all together unpack to `limit` bytes at most, and to `RATIO` times the archive's
    size where that is more than `FREE`. Objects, records and text beyond NumPy's own are refused; bytes are in the
    machine's order.

    Raises `StorageError` for a file that is missing, truncated, no npz, or beyond the limits.
    """
    with reading(source, what), _opened(source) as archive:
        members = checked(archive, limit, methods)
        names = [m.filename for m in members if m.filename.endswith(".npy")]
        if len(names) < len(members):
            raise ValueError("it holds members that are no arrays")
        wanted = [name for name in names if name.startswith(prefix)]
        return {name[len(prefix) :].removesuffix(".npy"): _array(archive, name) for name in wanted}


def read_member(source: Source, name: str, limit: int = LIMIT) -> bytes:
    """The bytes of the member `name` of a zip archive. Raises `StorageError` as `read_npz` does."""
    with reading(source, "a zip archive"), _opened(source) as archive:
        checked(archive, limit, _METHODS)
        return archive.read(name)


def member_names(source: Source, limit: int = LIMIT, methods: tuple[int, ...] = _METHODS) -> list[str]:
    """The names in a zip archive. Raises `StorageError` as `read_npz` does."""
    with reading(source, "a zip archive"), _opened(source) as archive:
        return [member.filename for member in checked(archive, limit, methods)]


def unpack_gzip(data: bytes, limit: int = LIMIT) -> bytes:
    """`data` unpacked. Raises `StorageError` if it is damaged or unpacks to more than `limit` bytes."""
    with reading(data, "gzip"), gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
        return _up_to(stream.read, len(data), limit)


def unpack_xz(data: bytes, limit: int = LIMIT) -> bytes:
    """`data` unpacked. Raises `StorageError` if it is damaged or unpacks to more than `limit` bytes."""
    with reading(data, "xz"), lzma.LZMAFile(io.BytesIO(data)) as stream:
        return _up_to(stream.read, len(data), limit)


def _up_to(read: Callable[[int], bytes], packed: int, limit: int) -> bytes:
    limit = min(limit, max(FREE, RATIO * packed))
    data = read(limit + 1)
    if len(data) > limit:
        raise ValueError(f"it unpacks to more than {limit} bytes")
    return data


@contextmanager
def _opened(source: Source) -> Iterator[zipfile.ZipFile]:
    with zipfile.ZipFile(source if isinstance(source, Path) else io.BytesIO(source)) as archive:
        yield archive


def checked(archive: zipfile.ZipFile, limit: int, methods: tuple[int, ...]) -> list[zipfile.ZipInfo]:
    """The members of `archive`. Raises `ValueError` where there are too many, too large or oddly packed ones.

    Nothing is ever extracted to a path, so names such as `../x` lead nowhere; they are refused all the same.
    """
    members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        raise ValueError(f"it has {len(members)} members, more than {MAX_MEMBERS}")
    if len({m.filename for m in members}) < len(members):
        raise ValueError("two of its members have one name")
    total, packed = sum(m.file_size for m in members), sum(m.compress_size for m in members)
    limit = min(limit, max(FREE, RATIO * packed))
    if total > limit:
        largest = max(members, key=lambda m: m.file_size).filename
        raise ValueError(f"it unpacks to more than {limit} bytes, {largest!r} the most of it")
    for member in members:
        if member.compress_type not in methods:
            raise ValueError("it holds compressed arrays in a way that is not read")
        if member.flag_bits & 1:
            raise ValueError("it is encrypted")
        parts = member.filename.replace("\\", "/").split("/")
        if ".." in parts or "" in parts[:1] or member.is_dir():
            raise ValueError(f"it holds {member.filename!r}, which is no plain name")
    return members


def _array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    size = archive.getinfo(name).file_size
    with archive.open(name) as stream:
        version = np.lib.format.read_magic(stream)
        if version not in _HEADERS:
            raise ValueError(f"array {name!r} has version {version}")
        shape, _, dtype = _HEADERS[version](stream)
        begun = stream.tell()
    if dtype.kind not in KINDS or dtype.hasobject:
        raise ValueError(f"array {name!r} holds {dtype}, neither numbers nor text; objects would have to be unpickled")
    count = math.prod(shape)
    if any(n < 0 for n in shape) or count * dtype.itemsize != size - begun or count > max(size, 1):
        raise ValueError(f"array {name!r} promises {shape} of {dtype} and has {size - begun} bytes")
    with archive.open(name) as stream:
        array = np.lib.format.read_array(stream, allow_pickle=False)
    return array.astype(dtype.newbyteorder("="), copy=False)
