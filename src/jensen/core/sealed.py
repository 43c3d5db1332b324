"""Sealed records: plain data and arrays as bytes under a SHA-256, so that no change of them goes unseen.

A record is `MAGIC | length of the body, 8 bytes | SHA-256 of these 8 bytes and the body | body`; the body is
`length of the header, 8 bytes | header, JSON | the arrays' own bytes, in the header's order`. All lengths are little
endian. Reading executes nothing, allocates no more than the record itself holds, and raises nothing but `StorageError`.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from jensen.core.errors import StorageError

MAGIC = b"JENSEN\x00\x02"
_LENGTH, _DIGEST = 8, 32
OVERHEAD = len(MAGIC) + _LENGTH + _DIGEST  # bytes of a record besides its body


def seal(header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> list[bytes | memoryview]:
    """A record of `header`, which must be JSON, and `arrays` of numbers, in pieces: large arrays are not copied.

    Raises `StorageError` for arrays of anything else.
    """
    index: list[Any] = []
    parts: list[bytes | memoryview] = []
    for name, array in arrays.items():
        if array.dtype.kind not in "fiubc":
            raise StorageError(f"Array {name!r} has dtype {array.dtype}, which is not plain numbers")
        index.append([name, array.dtype.str, list(array.shape)])
        if array.size:
            data: Any = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
            parts.append(memoryview(data))
    head = json.dumps({"header": dict(header), "arrays": index}).encode()
    parts = [len(head).to_bytes(_LENGTH, "little"), head, *parts]
    length = sum(len(part) for part in parts).to_bytes(_LENGTH, "little")
    digest = hashlib.sha256(length)
    for part in parts:
        digest.update(part)
    return [MAGIC, length, digest.digest(), *parts]


def unseal(data: memoryview | bytes, name: str = "the record") -> tuple[dict[str, Any], dict[str, np.ndarray], int]:
    """(header, arrays, bytes read) of the record that `data` begins with. Raises `StorageError` on any damage."""
    data = memoryview(data)
    if len(data) < OVERHEAD:
        raise StorageError(f"{name} is truncated: {len(data)} bytes")
    if data[: len(MAGIC)] != MAGIC:
        raise StorageError(f"{name} does not begin as a record of Jensen does")
    at = len(MAGIC)
    length, digest = data[at : at + _LENGTH], data[at + _LENGTH : OVERHEAD]
    end = OVERHEAD + int.from_bytes(length, "little")
    if end > len(data):
        raise StorageError(f"{name} is truncated: {len(data)} bytes of {end}")
    body = data[OVERHEAD:end]
    check = hashlib.sha256(length)
    check.update(body)
    if check.digest() != digest:
        raise StorageError(f"{name} was changed after it was written (its SHA-256 differs)")
    try:
        header, arrays = _parse(body)
    except (ValueError, TypeError, KeyError, IndexError, RecursionError, OverflowError) as error:
        raise StorageError(f"{name} is not a record of Jensen ({type(error).__name__}: {error})") from error
    return header, arrays, end


def _parse(body: memoryview) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    at = _LENGTH + int.from_bytes(body[:_LENGTH], "little")
    head = json.loads(bytes(body[_LENGTH:at]))
    arrays = {}
    for name, code, shape in head["arrays"]:
        dtype = np.dtype(str(code))
        if dtype.kind not in "fiubc" or any(type(n) is not int or n < 0 for n in shape):
            raise ValueError(f"array {name!r} has dtype {code!r} and shape {shape}")
        end = at + dtype.itemsize * math.prod(shape)
        if end > len(body):
            raise ValueError(f"array {name!r} ends beyond the record")
        arrays[str(name)] = np.frombuffer(body[at:end], dtype).reshape(shape).copy()
        at = end
    if at != len(body) or not isinstance(head["header"], dict):
        raise ValueError("bytes are left over, or the header is no object")
    return head["header"], arrays
