"""A bar for people on a terminal."""

import math
import threading
from typing import Any

from jensen.core import Certificate
from jensen.progress._moment import Moment


class Bar:
    """A progress bar on the terminal, shown after `delay` seconds of work; it vanishes when the run ends.

    It says `compiling` until a chunk has ended whose time was steps alone, then steps a second and the time left, at
    most. While the first chunk compiles nothing is told, so a timer shows the bar.
    """

    def __init__(self, delay: float = 0.5):
        self.delay, self.lock = delay, threading.Lock()
        self.timer: threading.Timer | None = None
        self.bar: Any = None
        self.task: Any = None
        self.moment: Moment | None = None

    def update(self, moment: Moment) -> None:
        with self.lock:
            self.moment = moment
            if self.bar is not None:
                self.bar.update(self.task, **_shown(moment))
            elif self.timer is None:
                self.timer = threading.Timer(self.delay, self._show)
                self.timer.daemon = True
                self.timer.start()

    def _show(self) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as RichProgress

        with self.lock:
            if self.moment is None or self.bar is not None:
                return
            columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
            words = TextColumn("{task.fields[words]}", markup=False)
            bar = RichProgress(*columns, TimeElapsedColumn(), words, transient=True)
            self.task = bar.add_task(self.moment.run, **_shown(self.moment))
            bar.start()
            self.bar = bar

    def certified(self, run: str, certificate: Certificate) -> None:
        pass

    def close(self) -> None:
        with self.lock:
            self.moment = None
            if self.timer is not None:
                self.timer.cancel()
            if self.bar is not None:
                self.bar.stop()
            self.timer = self.bar = None


def _shown(moment: Moment) -> dict[str, Any]:
    return {"completed": moment.step, "total": moment.total, "words": describe(moment)}


def describe(moment: Moment) -> str:
    """Rate, time left and objective in a line; `compiling` while neither is known."""
    if moment.rate is None:
        parts = ["compiling"] if moment.step == 0 else []
    else:
        parts = [f"{_figures(moment.rate)} steps/s"]
        if moment.left is not None:
            parts.append(f"{duration(moment.left)} left")
    if math.isfinite(moment.objective):
        parts.append(f"objective {moment.objective:.4g}")
    return ", ".join(part for part in (*parts, moment.words) if part)


def _figures(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def duration(seconds: float) -> str:
    """`4 s`, `2:05` (minutes and seconds) or `3:02:05`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"
