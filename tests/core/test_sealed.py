"""Records under a SHA-256: what goes in comes out, and no change of any byte goes unseen."""

import hashlib
import json

import numpy as np
import pytest

from jensen.core import StorageError
from jensen.core.sealed import MAGIC, OVERHEAD, seal, unseal

ARRAYS = {
    "real": np.array([[1.5, np.nan], [-0.0, np.inf]]),
    "single": np.float32(0.1).reshape(()),
    "whole": np.arange(-3, 3, dtype=np.int8)[::2],
    "flags": np.array([True, False]),
    "complex": np.array([1 + 2j], np.complex64),
    "none": np.zeros((0, 3), np.uint32),
}
HEADER = {"t": 7, "notes": ["a \u03b2"], "nothing": None}


def record() -> bytes:
    return b"".join(seal(HEADER, ARRAYS))


def test_what_goes_in_comes_out_to_the_bit():
    data = record()
    header, arrays, read = unseal(data + b"what follows")
    assert (header, read) == (HEADER, len(data))
    assert list(arrays) == list(ARRAYS)
    for name, want in ARRAYS.items():
        assert (arrays[name].dtype, arrays[name].shape) == (want.dtype, want.shape)
        assert arrays[name].tobytes() == want.tobytes()
        assert arrays[name].flags.writeable


def test_every_flipped_bit_and_every_cut_is_found():
    data = record()
    for i in range(len(data)):
        for bit in (1 << (i % 8), 0xFF):
            changed = bytearray(data)
            changed[i] ^= bit
            with pytest.raises(StorageError):
                unseal(bytes(changed))
        with pytest.raises(StorageError, match="truncated"):
            unseal(data[:i])


def crafted(head: bytes, rest: bytes = b"") -> bytes:
    """A record whose digest is right and whose body is what an attacker likes."""
    body = len(head).to_bytes(8, "little") + head + rest
    length = len(body).to_bytes(8, "little")
    return MAGIC + length + hashlib.sha256(length + body).digest() + body


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b"[" * 100_000,
        *(
            json.dumps({"header": {}, "arrays": arrays}).encode()
            for arrays in (
                [["a", "O", [1]]],
                [["a", "<f8", [2**62]]],
                [["a", "<f8", [-1]]],
                [["a", "<f8", [True]]],
                [["a", "<f8", [1.5]]],
                [["a", "<f8", 3]],
                [["a", "V8", [1]]],
                [["a", "U4", [1]]],
                [["a", "f8,f8", [0]]],
                [["a"]],
                7,
            )
        ),
        json.dumps({"header": [], "arrays": []}).encode(),
        json.dumps({"arrays": []}).encode(),
    ],
)
def test_a_crafted_record_is_one_error_and_takes_no_memory(head):
    with pytest.raises(StorageError, match="not a record of Jensen"):
        unseal(crafted(head, bytes(8)))


def test_a_length_beyond_all_memory_is_a_truncation():
    data = bytearray(record())
    data[len(MAGIC) : len(MAGIC) + 8] = (2**63).to_bytes(8, "little")
    with pytest.raises(StorageError, match="truncated"):
        unseal(bytes(data))
    assert len(data) > OVERHEAD


def test_objects_are_not_sealed():
    with pytest.raises(StorageError, match="not plain numbers"):
        seal({}, {"a": np.array([{}], object)})
