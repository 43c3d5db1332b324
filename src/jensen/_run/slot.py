"""One of the two copies of a checkpoint: a state file, replaced atomically, and a log of records that only grows."""

import contextlib
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jensen._run.saved import Saved, leaves_of
from jensen.core import StorageError
from jensen.core.files import cause, sync_folder, write_atomic
from jensen.core.sealed import seal, unseal

FORMAT = 2


class Slot:
    """A state file and its log. `size` bytes and `blocks` blocks of the log are known to be good, under `chain`."""

    def __init__(self, folder: Path, name: str):
        self.folder, self.state, self.log = folder, folder / f"state-{name}", folder / f"records-{name}"
        self.identity: dict[str, str] = {}
        self._reset()

    def _reset(self) -> None:
        self.size, self.chains = 0, [b""]  # the digest after the head of the log and after each block

    @property
    def blocks(self) -> int:
        """Blocks of records in the log."""
        return len(self.chains) - 1

    def continues(self, other: "Slot") -> bool:
        """Whether the log of `other` is the beginning of this one's, so that it may be gone on with."""
        return other.size > 0 and other.blocks <= self.blocks and other.chains[-1] == self.chains[other.blocks]

    def forget(self) -> None:
        """Write this slot from its beginning next time."""
        self._reset()

    def read(self) -> Saved | None:
        """The slot's checkpoint, None if it has none. Raises `StorageError` if any byte of it is not as it was."""
        self._reset()
        if not self.state.exists():
            return None
        meta, arrays, end = unseal(_bytes(self.state), str(self.state))
        if end != self.state.stat().st_size:
            raise StorageError(f"{self.state} is longer than it was")
        if meta.get("format") != FORMAT:
            raise StorageError(f"{self.state} has format {meta.get('format')}, this version reads {FORMAT}")
        records = self._read_log(meta)
        return Saved(meta, arrays, records)

    def _read_log(self, meta: dict[str, Any]) -> list[list[np.ndarray]]:
        try:
            size, blocks, chain = int(meta["log_size"]), int(meta["log_blocks"]), bytes.fromhex(meta["log_chain"])
            meta |= {name: int(meta[name]) for name in ("saves", "t")}
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise StorageError(f"{self.state} is not a checkpoint of a run ({error})") from error
        if size <= 0 or blocks < 0:
            raise StorageError(f"{self.state} is not a checkpoint of a run (its log has {size} bytes)")
        data = memoryview(_bytes(self.log, size))
        at, chains, records = 0, [], []
        while at < size:
            header, arrays, read = unseal(data[at:], str(self.log))
            if at == 0:
                self.identity = {str(name): str(words) for name, words in header.items()}
            else:
                records.append(list(arrays.values()))
            chains.append(_chained(chains[-1] if chains else b"", data[at : at + read]))
            at += read
        if len(chains) != blocks + 1 or chains[-1] != chain:
            raise StorageError(f"{self.log} is not the log that {self.state.name} was written with")
        self.size, self.chains = size, chains
        return records

    def write(
        self, arrays: dict[str, np.ndarray], meta: dict[str, Any], records: Sequence[Any], identity: dict[str, str]
    ) -> None:
        """Extend the log, then replace the state. Raises `StorageError`; what `size` covers is untouched then."""
        try:
            self._extend(records, identity)
        except StorageError:
            raise
        except OSError as error:
            if self.size:
                with contextlib.suppress(OSError):
                    os.truncate(self.log, self.size)
            raise StorageError(f"Cannot write {self.log}: {cause(error)}") from error
        log = {"log_size": self.size, "log_blocks": self.blocks, "log_chain": self.chains[-1].hex()}
        write_atomic(self.state, seal(meta | log | {"format": FORMAT}, arrays))

    def _extend(self, records: Sequence[Any], identity: dict[str, str]) -> None:
        if self.size == 0:  # begun anew: first the state that belongs to the old log, if any, must go
            self.state.unlink(missing_ok=True)
            sync_folder(self.folder)
            self._reset()
        size, chains = self.size, self.chains if self.size else []
        with self.log.open("r+b" if self.size else "wb") as file:
            file.truncate(size)
            file.seek(size)
            fresh = [] if self.size else [seal(identity, {})]
            for block in records[self.blocks :]:
                fresh.append(seal({}, {str(i): leaf for i, leaf in enumerate(leaves_of(block))}))
            new = []
            for pieces in fresh:
                file.writelines(pieces)
                size += sum(len(piece) for piece in pieces)
                new.append(_chained((new or chains or [b""])[-1], *pieces))
            file.flush()
            os.fsync(file.fileno())
        self.size, self.chains = size, [*chains, *new]


def _chained(before: bytes, *pieces: bytes | memoryview) -> bytes:
    digest = hashlib.sha256(before)
    for piece in pieces:
        digest.update(piece)
    return digest.digest()


def _bytes(path: Path, size: int = -1) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(size)
    except OSError as error:
        raise StorageError(f"Cannot read {path}: {cause(error)}") from error
    if size >= 0 and len(data) < size:
        raise StorageError(f"{path} is truncated: {len(data)} bytes of {size}")
    return data
