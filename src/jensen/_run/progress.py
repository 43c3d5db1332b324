"""Progress for people: a rich bar on a terminal, nothing elsewhere."""

import sys
import time
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Progress(Protocol):
    """What the loop tells of itself; `update` is called after every chunk."""

    def update(self, t: int, total: int, words: str) -> None: ...

    def close(self) -> None: ...


class Silent:
    """Says nothing."""

    def update(self, t: int, total: int, words: str) -> None:
        pass

    def close(self) -> None:
        pass


class Bar:
    """A progress bar on the terminal, shown after half a second of work; it vanishes when the run ends."""

    def __init__(self, title: str, delay: float = 0.5):
        self.title, self.delay, self.since = title, delay, time.perf_counter()
        self.bar: Any = None
        self.task: Any = None

    def update(self, t: int, total: int, words: str) -> None:
        if self.bar is None:
            if time.perf_counter() - self.since < self.delay:
                return
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as RichProgress

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self.bar = RichProgress(*columns, TextColumn("{task.fields[words]}"), transient=True)
            self.bar.start()
            self.task = self.bar.add_task(self.title, total=total, words=words)
        self.bar.update(self.task, completed=t, total=total, words=words)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.stop()


def make(title: str, wanted: bool | None) -> Progress:
    """A bar if wanted, or if nothing was said and standard error is a terminal."""
    return Bar(title) if (sys.stderr.isatty() if wanted is None else wanted) else Silent()
