"""What the loop tells after every chunk, and the protocol of who listens."""

import dataclasses
import math
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from jensen.core import Certificate

WINDOW = 20  # chunks over which the rate is taken


@dataclasses.dataclass(frozen=True)
class Moment:
    """Where a run stands after a chunk of steps.

    `run`: the algorithm's name. `step` of at most `total`. `seconds` since the run began, compilation included. `rate`:
    steps a second over the last chunks; None until a chunk has ended that compiled nothing, for the first one's time is
    mostly compilation. `left`: seconds, at most, at that rate (a plateau may end the run before, a limit of time is
    counted in); None without a rate. `objective` and `residual` of the last step (NaN before the first). `memory`:
    resident bytes of the process, None where the system does not say; `device_memory`: bytes in use on the accelerator,
    None without one. `notes`: of the run so far, the oldest first. `words`: further ones for people.
    """

    run: str
    step: int
    total: int
    seconds: float
    rate: float | None = None
    left: float | None = None
    objective: float = math.nan
    residual: float = math.nan
    memory: int | None = None
    device_memory: int | None = None
    notes: tuple[str, ...] = ()
    words: str = ""


@runtime_checkable
class Progress(Protocol):
    """Who listens to a run. `jensen.fit` tells one listener of all its runs, one after the other.

    An exception in a listener ends the run: one that may fail for reasons of its own should not raise.
    """

    def update(self, moment: Moment) -> None:
        """Called before the first chunk, with step 0, and after every chunk, in the thread of the run."""
        ...

    def certified(self, run: str, certificate: Certificate) -> None:
        """Called when the result of a run has been certified, whatever the verdict."""
        ...

    def close(self) -> None:
        """Called when a run has ended, however it did. Another run may follow."""
        ...


class Silent:
    """Says nothing."""

    def update(self, moment: Moment) -> None:
        pass

    def certified(self, run: str, certificate: Certificate) -> None:
        pass

    def close(self) -> None:
        pass


class Several:
    """Passes everything on to each of `listeners`, in their order."""

    def __init__(self, *listeners: Progress):
        self.listeners = listeners

    def update(self, moment: Moment) -> None:
        for listener in self.listeners:
            listener.update(moment)

    def certified(self, run: str, certificate: Certificate) -> None:
        for listener in self.listeners:
            listener.certified(run, certificate)

    def close(self) -> None:
        for listener in self.listeners:
            listener.close()


class Teller:
    """The loop's side: makes a `Moment` of what it knows, with rate and time left, and tells `listener`."""

    def __init__(self, listener: Progress, run: str, began: float, time_limit: float | int | None = None):
        self.listener, self.run, self.began, self.time_limit = listener, run, began, time_limit
        self.marks: deque[tuple[int, float]] = deque(maxlen=WINDOW + 1)
        self.told = False

    def tell(self, step: int, total: int, record: Any = None, notes: Any = (), words: str = "") -> None:
        """`record`: a `Step` whose objective and residual have the steps of the chunk as their axis."""
        if type(self.listener) is Silent:
            return
        now = time.perf_counter()
        if self.told:  # what was told first came before the first chunk
            self.marks.append((step, now))
        self.told = True
        rate = self._rate()
        memory, device = resident_bytes(), device_bytes()
        numbers = (_last(record, "objective"), _last(record, "residual"))
        left = self._left(step, total, rate, now)
        seconds = now - self.began
        moment = Moment(self.run, step, total, seconds, rate, left, *numbers, memory, device, tuple(notes), words)
        self.listener.update(moment)

    def _rate(self) -> float | None:
        if len(self.marks) < 2:
            return None
        (first, began), (last, now) = self.marks[0], self.marks[-1]
        return (last - first) / (now - began) if now > began else None

    def _left(self, step: int, total: int, rate: float | None, now: float) -> float | None:
        if rate is None or rate <= 0:
            return None
        left = max(0, total - step) / rate
        return left if self.time_limit is None else min(left, max(0.0, self.time_limit - (now - self.began)))

    def close(self) -> None:
        self.listener.close()


def _last(record: Any, name: str) -> float:
    values = [] if record is None else getattr(record, name)
    return float(values[-1]) if len(values) else math.nan


def resident_bytes() -> int | None:
    """Memory of this process that is in use now; its peak where the system tells only that; None where nothing."""
    try:
        import resource

        pages = Path("/proc/self/statm")
        if pages.exists():
            return int(pages.read_text().split()[1]) * resource.getpagesize()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    except (ImportError, OSError, ValueError, IndexError):
        return None


def device_bytes() -> int | None:
    """Memory in use on the first accelerator; None on a CPU."""
    import jax

    try:
        return (jax.local_devices()[0].memory_stats() or {}).get("bytes_in_use")
    except (RuntimeError, NotImplementedError, AttributeError):
        return None
