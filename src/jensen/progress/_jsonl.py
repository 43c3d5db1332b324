"""Progress as lines of JSON, for programs: a log, and what `jensen watch` reads."""

import json
import math
import os
import time
import warnings
from pathlib import Path
from typing import Any

from jensen.core import Certificate, StorageError
from jensen.core.files import PROGRESS, cause
from jensen.progress._moment import Moment

FILE = PROGRESS


class JsonLines:
    """Writes one JSON object a line to `place`, a path or an open stream of text, each flushed when it is written.

    Every line has `time` (seconds since 1970), `event`, `number` (of the run, from 1) and `run`. Events:

    - `step`: `step`, `total`, `seconds`, `rate` (steps a second), `left` (seconds, at most), `objective`, `residual`,
      `memory` (bytes), `device_memory`, and in `notes` those that are new. Null where a number is not known or not
      finite. The first and last of a run are always written, others at most one in `interval` seconds, or in
      `share` of the time since the first line where that is longer: the file grows with the logarithm of the time.
    - `end`: the run is over.
    - `certificate`: `passed`, `reasons`, `khat`, `ess`, `elbo`, and `checks`, each with `name`, `value`,
      `standard_error`, `threshold` and `holds`.

    A file is appended to, or begun anew with `fresh`. If it cannot be written any more later on, because the disk is
    full, that is one warning, and the run goes on.

    Raises `StorageError` at the first line, before the first step, if the file cannot be written.
    """

    def __init__(self, place: Any, interval: float = 0.1, share: float = 0.0, fresh: bool = False):
        self.interval, self.share = interval, share
        self.path = Path(place) if isinstance(place, str | Path) else None
        self.stream: Any = None if isinstance(place, str | Path) else place
        self.flags = os.O_TRUNC if fresh else os.O_APPEND
        self.begun = self.broken = False
        self.number, self.notes, self.first = 1, 0, time.monotonic()
        self.written = -math.inf
        self.waiting: Moment | None = None
        self.run = ""

    def update(self, moment: Moment) -> None:
        now = time.monotonic()
        due = now - self.written >= max(self.interval, self.share * (now - self.first))
        if due or moment.run != self.run:
            self._step(moment)
            self.written = now
        else:
            self.waiting = moment
        self.run = moment.run

    def _step(self, moment: Moment) -> None:
        self.waiting = None
        new, self.notes = moment.notes[self.notes :], len(moment.notes)
        names = ("step", "total", "seconds", "rate", "left", "objective", "residual", "memory", "device_memory")
        self._write("step", moment.run, {name: getattr(moment, name) for name in names} | {"notes": list(new)})

    def certified(self, run: str, certificate: Certificate) -> None:
        checks = [
            {name: getattr(c, name) for name in ("name", "value", "standard_error", "threshold", "holds")}
            for c in certificate.checks
        ]
        numbers = {name: getattr(certificate, name) for name in ("khat", "ess", "elbo")}
        content = {"passed": certificate.passed, "reasons": list(certificate.reasons), **numbers, "checks": checks}
        self._write("certificate", run, content, self.number - 1)

    def close(self) -> None:
        if self.waiting is not None:
            self._step(self.waiting)
        if self.run:
            self._write("end", self.run, {})
            self.number, self.notes, self.run, self.written = self.number + 1, 0, "", -math.inf

    def _write(self, event: str, run: str, content: dict[str, Any], number: int | None = None) -> None:
        if self.broken:
            return
        head = {"time": time.time(), "event": event, "number": max(1, number or self.number), "run": run}
        line = json.dumps(_finite(head | content), ensure_ascii=True, allow_nan=False) + "\n"
        try:
            if self.path is None:
                self.stream.write(line)
                self.stream.flush()
            else:
                self._append(self.path, line.encode())
        except (OSError, ValueError) as error:
            if not self.begun and isinstance(error, OSError):
                raise StorageError(f"Cannot write {self.path or 'the log'}: {cause(error)}") from error
            self.broken = True
            warnings.warn(f"The log of progress cannot be written any more, the run goes on: {error}", stacklevel=2)
        self.begun = True

    def _append(self, path: Path, line: bytes) -> None:
        # Opened for each line: the folder may be renamed meanwhile, and no handle is left open. Never through a link.
        if not self.begun:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_symlink():
                path.unlink()
        flags = os.O_WRONLY | os.O_CREAT | (self.flags if not self.begun else os.O_APPEND)
        handle = os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o644)
        with open(handle, "ab") as file:
            file.write(line)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_finite(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
