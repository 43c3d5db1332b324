"""A folder that is replaced as a whole: whenever a process is killed, the old one or the new one stands there."""

import contextlib
import ctypes
import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from jensen.core.errors import StorageError
from jensen.core.files import cause, sync_folder

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None

_HERE, _EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux
NEW, OLD = "new", "old"


def replace_folder(path: Path, files: Mapping[str, bytes]) -> None:
    """Write `files` into a sibling folder and put it in the place of `path`, which is removed only afterwards.

    Where the system can exchange two names at once (Linux, most file systems) there is no moment without a folder at
    `path`. Elsewhere there is one, between two renames; `mend` completes what was killed then.

    Raises `StorageError`; what stood at `path` stands there still.
    """
    token = secrets.token_hex(6)
    fresh, old = _beside(path, token, NEW), _beside(path, token, OLD)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh.mkdir()
        with _used(fresh):
            for name, data in files.items():
                with (fresh / name).open("xb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
            sync_folder(fresh)
            _switch(fresh, path, old)
            sync_folder(path.parent)
    except OSError as error:
        raise StorageError(f"Cannot write {path}: {cause(error)}") from error
    finally:
        if path.exists() or not old.exists():  # else Ctrl-C came between two renames: `mend` needs both
            shutil.rmtree(fresh, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)


def mend(path: Path) -> None:
    """Put in order what a killed `replace_folder` left beside `path`: the whole new folder in its place, or nothing.

    Folders of a save that is at work are left alone. Does nothing where the system refuses.
    """
    with contextlib.suppress(OSError):
        for token in _tokens(path):
            fresh, old = _beside(path, token, NEW), _beside(path, token, OLD)
            if _in_use(fresh):
                continue
            if old.is_dir() and not os.path.lexists(path):  # the new one was whole before the old one was moved
                os.rename(fresh if fresh.is_dir() else old, path)
                sync_folder(path.parent)
            for left in (fresh, old):
                if left.is_dir():
                    shutil.rmtree(left)


def _beside(path: Path, token: str, kind: str) -> Path:
    return path.parent / f".{path.name}.{token}.{kind}"


def _tokens(path: Path) -> list[str]:
    pattern = re.compile(rf"\.{re.escape(path.name)}\.([0-9a-f]{{12}})\.(?:{NEW}|{OLD})")
    found = [pattern.fullmatch(entry.name) for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    return sorted({match.group(1) for match in found if match})


def _switch(fresh: Path, path: Path, old: Path) -> None:
    if not path.exists():
        os.rename(fresh, path)
    elif not _exchange(fresh, path):
        os.rename(path, old)
        try:
            os.rename(fresh, path)
        except OSError:
            os.rename(old, path)
            raise


def _exchange(one: Path, other: Path) -> bool:
    """Whether the two names were exchanged, in one operation; nothing happened where not."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        rename = ctypes.CDLL(None).renameat2
    except (OSError, AttributeError):  # a C library older than this call
        return False
    return rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0


@contextlib.contextmanager
def _used(folder: Path) -> Iterator[None]:
    """A lock on the folder, by which `mend` in another process knows that it is in use; none where there are none."""
    handle = _locked(folder)
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)


def _in_use(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    try:
        handle = _locked(folder)
    except BlockingIOError:
        return True
    if handle is not None:
        os.close(handle)
    return False


def _locked(folder: Path) -> int | None:
    """An open handle with a lock on it; None where there are no locks. Raises `BlockingIOError` if it is taken."""
    if fcntl is None:
        return None
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise
    except OSError:
        os.close(handle)
        return None
    return handle
