"""Checkpoints: state, step and records, so that a killed run ends with the same result, bit for bit.

A folder holds two slots that are written in turn, so that the one before stays whole whatever happens to the newest.
A slot is a state file, replaced atomically, and a log of records that only grows: a save costs the state and the new
records, however long the run has been. Each slot has all that a resume needs, and shares nothing with the other: damage
to any one file costs one slot. Every byte lies under a SHA-256 (`jensen.core.sealed`); the state file says how much of
its log belongs to it and holds a digest of that part, so that a log cut short, exchanged or written beyond it is seen.
Logs are flushed to the disk before the state that counts on them, and names after it. The run holds a lock.

Why no library: orbax 0.12.8, the usual one, was measured (docs/reliability.md). It flushes and renames as it should,
but after one flipped bit in its file of the arrays it restored wrong numbers without an error in 11 of 12 trials.
Checksums, the choice among copies, the identity of a run and the lock would have had to be built around it; it writes
whole trees, so that the history would be written again at every save; and it costs 30 ms of CPU for a save of 9 kB,
0.46 s for its import, and 90 MB of packages. What is needed is 300 lines and no dependency.
"""

import contextlib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jensen._run.identity import differences
from jensen._run.lock import Lock
from jensen._run.saved import Saved, leaves_of
from jensen._run.slot import Slot
from jensen.core import StorageError

_SLOTS = ("a", "b")
_OLD = "checkpoint.npz"  # the one file of format 1


class OtherRun(StorageError):
    """The checkpoint belongs to a run that differs in data, settings, key or code; the message names in what."""


class Checkpoints:
    """The checkpoints of one run in `folder`, locked for it until `close`.

    `identity` says which run it is (see `identity`). `notes` are words on what was found damaged. Where not `writes`,
    another process of the same run writes: they are only read, without a lock.

    Raises `StorageError` if the folder cannot be written or another run is at work in it.
    """

    def __init__(self, folder: Path, identity: dict[str, str], writes: bool = True):
        self.folder, self.identity, self.writes = folder, identity, writes
        self.notes: list[str] = []
        self._slots = [Slot(folder, name) for name in _SLOTS]
        self._saves, self._last_step = 0, 0
        self._lock = Lock(folder) if writes else None
        try:
            self._tidy()
        except BaseException:
            self.close()
            raise

    def _tidy(self) -> None:
        if self._lock is None:
            return
        if self._lock.missing:
            self._note(f"{self._lock.missing}: a second run on {self.folder} would not be noticed")
        for leftover in self.folder.glob(".state-*"):  # of a process that was killed while it wrote
            with contextlib.suppress(OSError):
                leftover.unlink()

    def load(self) -> Saved | None:
        """The newest checkpoint that is whole, None if there is none at all.

        Raises `OtherRun` if it is another run's, `StorageError` if all that there are are damaged.
        """
        if (self.folder / _OLD).exists():
            raise StorageError(f"{self.folder} holds a checkpoint of an older Jensen: use a new folder")
        found, damaged = [], []
        for slot in self._slots:
            try:
                saved = slot.read()
            except StorageError as error:
                damaged.append(str(error))
            else:
                if saved is not None:
                    found.append((saved, slot))
        found.sort(key=lambda pair: pair[0].meta["saves"])
        if not found:
            if damaged:
                raise StorageError(
                    f"No checkpoint in {self.folder} is whole: {'; '.join(damaged)}. Remove the folder to start again"
                )
            return None
        saved, slot = found[-1]
        differing = differences(slot.identity, self.identity)
        if differing:
            raise OtherRun(
                f"The checkpoint in {self.folder} belongs to another run: {'; '.join(differing)}. Use a new folder, or "
                "run what it was written by (there vs here)"
            )
        for other in self._slots:
            if other is not slot and not slot.continues(other):
                other.forget()
        if damaged:
            self._note(f"{damaged[0]}: fell back to the other checkpoint, of step {saved.meta['t']}")
        self._saves, self._last_step = saved.meta["saves"], saved.meta["t"]
        return saved

    def save(self, trees: dict[str, Any], meta: dict[str, Any], records: Sequence[Any]) -> None:
        """Write the array leaves of `trees`, the plain data `meta`, and those of `records` that are not yet written.

        `meta`: its "t" is the number of steps taken. `records`: all blocks of records of the run, trees of arrays with
        a leading axis of steps; only ever extended.
        Raises `StorageError` if the system refuses; the checkpoints so far are untouched then.
        """
        if not self.writes:
            return
        slot = self._slots[self._saves % 2]
        arrays = {f"{name}/{i}": leaf for name, tree in trees.items() for i, leaf in enumerate(leaves_of(tree))}
        try:
            slot.write(arrays, meta | {"saves": self._saves + 1}, records, self.identity)
        except StorageError as error:
            last = f"the checkpoint of step {self._last_step} is whole" if self._saves else "nothing was saved"
            raise StorageError(f"{error}; {last}") from error
        self._saves, self._last_step = self._saves + 1, meta["t"]

    def _note(self, words: str) -> None:
        self.notes.append(words)
        warnings.warn(words, RuntimeWarning, stacklevel=6)

    def close(self) -> None:
        """Give the folder back."""
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
