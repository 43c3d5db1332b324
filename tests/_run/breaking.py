"""The disk as a program sees it, failing or dying at an operation of choice: real files, real writes up to there."""

import errno
import os
from pathlib import Path
from typing import Any


class Dead(BaseException):
    """The process was killed here: nothing that catches errors may see it."""


class Disk:
    """Counts operations that change the disk, and after `at` of them raises `failure`; a write there is half done."""

    def __init__(self, monkeypatch, at: int | None = None, failure: Any = Dead):
        self.at, self.failure, self.count, self.bytes = at, failure, 0, 0
        for owner, name in ((os, "fsync"), (os, "replace"), (os, "truncate"), (Path, "unlink"), (os, "ftruncate")):
            self._wrap(monkeypatch, owner, name)
        opened = Path.open
        monkeypatch.setattr(Path, "open", lambda path, *args, **kw: Handle(self, opened(path, *args, **kw)))

    def _wrap(self, monkeypatch, owner, name):
        real = getattr(owner, name)

        def operation(*args, **kwargs):
            self.tick()
            return real(*args, **kwargs)

        monkeypatch.setattr(owner, name, operation)

    def tick(self) -> None:
        self.count += 1
        if self.at is not None and self.count > self.at:
            raise self.failure()


class Handle:
    """A file whose writes are operations of a `Disk`."""

    def __init__(self, disk: Disk, file: Any):
        self.disk, self.file = disk, file

    def writelines(self, pieces) -> None:
        for piece in pieces:
            self.write(piece)

    def write(self, data) -> None:
        data = bytes(data)
        self.disk.bytes += len(data)
        try:
            self.disk.tick()
        except BaseException:
            self.file.write(data[: len(data) // 2])
            self.file.flush()
            raise
        self.file.write(data)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def __getattr__(self, name):
        return getattr(self.file, name)


def full() -> OSError:
    """What the system says of a full disk."""
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
