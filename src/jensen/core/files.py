"""Writing that is never half done: a temporary sibling, flushed to the disk, then renamed."""

import contextlib
import errno
import io
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jensen.core.archives import read_npz
from jensen.core.errors import StorageError

PROGRESS = "progress.jsonl"  # what a run tells while it lasts, in the folder of its fit or checkpoint


def write_atomic(path: Path, data: bytes | Sequence[bytes | memoryview]) -> None:
    """Write `data`, whole or in pieces, to `path` so that a reader sees the old file or the new.

    Raises `StorageError` with the cause.
    """
    temporary = path.parent / f".{path.name}.{secrets.token_hex(6)}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            file.writelines([data] if isinstance(data, bytes) else data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise StorageError(f"Cannot write {path}: {cause(error)}") from error


def sync_folder(folder: Path) -> None:
    """Flush the names in `folder` to the disk: without it, a power cut may undo a rename that had returned."""
    if os.name != "posix":  # elsewhere folders cannot be opened
        return
    try:
        handle = os.open(folder, os.O_RDONLY)
    except PermissionError:  # one may write in it, but not look into it
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system without it, such as some network ones
            raise
    finally:
        os.close(handle)


def cause(error: OSError) -> str:
    """Why the system refused, with the mend."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "no space is left on the disk; free some and run again"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "the folder is not writable; choose another with --out or path="
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return "a file stands where a folder is needed; choose another path"
    return str(error)


def pack_arrays(arrays: Mapping[str, np.ndarray]) -> bytes:
    """An npz archive of plain numeric arrays. Raises `StorageError` for arrays of Python objects."""
    for name, array in arrays.items():
        if np.asarray(array).dtype.kind not in "fiubcUS":
            raise StorageError(f"Array {name!r} has dtype {np.asarray(array).dtype}, which is not plain numbers")
    buffer = io.BytesIO()
    plain: dict[str, Any] = {name: np.asarray(a) for name, a in arrays.items()}
    np.savez(buffer, **plain)
    return buffer.getvalue()


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an npz file, as `archives.read_npz` reads them: nothing is unpickled, sizes are limited.

    Raises `StorageError` if it is missing, truncated or foreign.
    """
    return read_npz(path)
