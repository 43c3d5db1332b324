"""One checkpoint for several processes: the first one reads it and tells the others."""

from collections.abc import Callable
from typing import Any

import numpy as np

from jensen._run.saved import Saved
from jensen.core import StorageError
from jensen.core.sealed import seal, unseal

NOTHING, FOUND, FAILED = range(3)


def from_first(devices: Any, load: Callable[[], Saved | None]) -> Saved | None:
    """What `load()` gives in the first process, in every process: the others need not see the folder.

    Raises `StorageError` in all of them where the first one cannot read it.
    """
    if not devices.several:
        return load()
    saved, failure = None, None
    if devices.writes:
        try:
            saved = load()
        except StorageError as error:
            failure = error
    data = b"" if saved is None else _pack(saved)
    code = FAILED if failure else NOTHING if saved is None else FOUND
    with devices.use():
        code, size = _told(np.array([code, len(data)], np.int32))
        if code == FOUND:
            room = np.frombuffer(data.ljust(int(size), b"\0"), np.uint8)  # the others have nothing to say
            data = _told(room).tobytes()
    if code == FAILED:
        raise failure or StorageError("The first process cannot read the checkpoint: see its error")
    if code == NOTHING or devices.writes:
        return saved
    return _unpack(data)


def _told(value: np.ndarray) -> np.ndarray:
    from jax.experimental.multihost_utils import broadcast_one_to_all

    return np.asarray(broadcast_one_to_all(value))


def _pack(saved: Saved) -> bytes:
    """Its plain data, its arrays, and its blocks of records, under a checksum."""
    arrays = {f"of {name}": a for name, a in saved.named.items()}
    arrays |= {f"{b} {i}": a for b, block in enumerate(saved.records) for i, a in enumerate(block)}
    return b"".join(seal({"meta": saved.meta, "blocks": [len(block) for block in saved.records]}, arrays))


def _unpack(data: bytes) -> Saved:
    header, arrays, _ = unseal(data, "the checkpoint of the first process")
    named = {name.removeprefix("of "): a for name, a in arrays.items() if name.startswith("of ")}
    records = [[arrays[f"{b} {i}"] for i in range(n)] for b, n in enumerate(header["blocks"])]
    return Saved(header["meta"], named, records)
