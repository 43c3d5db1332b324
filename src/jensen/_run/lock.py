"""One run a folder: a lock that the system takes back when its process ends, however it ends."""

import errno
import json
import os
import socket
from pathlib import Path

from jensen.core import StorageError
from jensen.core.files import cause, sync_folder

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None

NAME = "lock"
_NONE = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


class Lock:
    """The right to write in `folder`, which is made if it does not exist, held until `release` or the process's end.

    The file that carries the lock stays: only the lock on it counts (`flock`), so that the file of a killed process
    blocks nobody. `missing` holds words where the system or file system has no locks.

    Raises `StorageError` if another run holds it, naming its process and host, or if the folder cannot be written.
    """

    def __init__(self, folder: Path):
        self.missing, self._handle = "", -1
        try:
            if not folder.is_dir():
                folder.mkdir(parents=True, exist_ok=True)
                sync_folder(folder.parent)
            self._handle = os.open(folder / NAME, os.O_RDWR | os.O_CREAT, 0o644)
            self._take(folder)
            about = json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode()
            os.ftruncate(self._handle, 0)
            os.write(self._handle, about)
        except BlockingIOError as error:
            holder = _holder(self._handle)
            self.release()
            raise StorageError(
                f"Another run is at work in {folder} ({holder}): wait for it, stop it, or use another folder"
            ) from error
        except OSError as error:
            self.release()
            raise StorageError(f"Cannot write {folder}: {cause(error)}") from error
        except BaseException:  # Ctrl-C: a lock that nobody can give back would last as long as the process
            self.release()
            raise

    def _take(self, folder: Path) -> None:
        if fcntl is None:
            self.missing = "this system has no file locks"
            return
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError as error:
            if error.errno not in _NONE:
                raise
            self.missing = f"the file system of {folder} has no locks"

    def release(self) -> None:
        """Give it back; twice does no harm."""
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)

    def __enter__(self) -> "Lock":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _holder(handle: int) -> str:
    try:
        about = json.loads(os.read(handle, 1000))
        return f"process {int(about['pid'])} on {str(about['host'])[:100]}"
    except (OSError, ValueError, TypeError, KeyError):
        return "process unknown"
