"""Atomic writing and safe reading."""

import numpy as np
import pytest

from jensen.core import StorageError
from jensen.core.files import pack_arrays, read_arrays, write_atomic


def test_arrays_come_back(tmp_path):
    arrays = {"a": np.arange(3.0), "b/0": np.ones((2, 2), bool)}
    write_atomic(tmp_path / "deep" / "x.npz", pack_arrays(arrays))
    back = read_arrays(tmp_path / "deep" / "x.npz")
    assert set(back) == set(arrays)
    np.testing.assert_array_equal(back["a"], arrays["a"])
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["x.npz"]


def test_objects_are_neither_written_nor_read(tmp_path):
    with pytest.raises(StorageError, match="not plain numbers"):
        pack_arrays({"a": np.array([{}], object)})
    np.savez(tmp_path / "evil.npz", a=np.array([{"x": 1}], object))
    with pytest.raises(StorageError, match="truncated or not an array file"):
        read_arrays(tmp_path / "evil.npz")


def test_broken_files_give_one_error(tmp_path):
    with pytest.raises(StorageError, match="No file"):
        read_arrays(tmp_path / "none.npz")
    data = pack_arrays({"a": np.arange(1000.0)})
    (tmp_path / "cut.npz").write_bytes(data[: len(data) // 2])
    with pytest.raises(StorageError, match="truncated"):
        read_arrays(tmp_path / "cut.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(StorageError, match="truncated or not"):
        read_arrays(tmp_path / "text.npz")


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="Cannot write"):
        write_atomic(tmp_path / "file" / "x.npz", b"")
