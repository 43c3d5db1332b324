"""SIGTERM asks a run to end: it finishes its chunk, saves, and hands back what it has."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any


class Watch:
    """Whether SIGTERM has come since the watch began."""

    asked = False


_watch: Watch | None = None


@contextlib.contextmanager
def watched() -> Iterator[Watch]:
    """Take note of SIGTERM while the block runs, then give the signal back to whom it belonged, who hears of it too.

    Within another such block it is that block's watch. A second SIGTERM acts as if there were no watch: it ends the
    process unless the program had said otherwise. Only the main thread may handle signals: in others, and where SIGTERM
    is ignored or handled by code that is not Python's, the watch stays silent.
    """
    global _watch
    if threading.current_thread() is not threading.main_thread():
        yield Watch()
        return
    if _watch is not None:
        yield _watch
        return
    previous = signal.getsignal(signal.SIGTERM)
    if previous is None or previous is signal.SIG_IGN:
        yield Watch()
        return
    watch = _watch = Watch()

    def note(number: int, _: Any) -> None:
        if watch.asked:
            signal.signal(signal.SIGTERM, previous)
            os.kill(os.getpid(), number)
        watch.asked = True

    signal.signal(signal.SIGTERM, note)
    try:
        yield watch
    finally:
        _watch = None
        signal.signal(signal.SIGTERM, previous)
        if watch.asked and callable(previous):
            previous(signal.SIGTERM, None)
