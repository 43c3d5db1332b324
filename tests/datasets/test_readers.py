"""Readers of the files, and the limits they keep."""

import gzip
import json
import zipfile

import numpy as np
import pytest

from jensen.core import UnknownName
from jensen.datasets import DatasetError
from jensen.datasets import _readers as read


def test_npz_takes_the_prefix_off(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, **{"a/x": np.arange(3), "b/x": np.arange(4)})
    found = read.npz(path, "a/")
    assert list(found) == ["x"]
    assert found["x"].tolist() == [0, 1, 2]


def test_npz_never_unpickles(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(DatasetError, match="would have to be unpickled"):
        read.npz(path)


def test_archives_that_unpack_to_too_much_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(read, "LIMIT", 1000)
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("large", b"0" * 2000)
    with pytest.raises(DatasetError, match="unpacks to more than 1000 bytes"):
        read.member(path, "large")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("s/data.csv.gz", gzip.compress(b"1,2\n" * 1000))
    with pytest.raises(DatasetError, match="unpacks to more than 1000 bytes"):
        read.gaussian_process_split(path, "s")


def test_damaged_archives_are_named(tmp_path):
    path = tmp_path / "x.npz"
    path.write_bytes(b"PK\x03\x04 and nothing more")
    with pytest.raises(DatasetError, match="is damaged"):
        read.npz(path)


def test_splits_bits_and_documents(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("s/data.csv.gz", gzip.compress(b"1,2,3\n4,5,6\n"))
        archive.writestr("s/test_mask.csv.gz", gzip.compress(b"0,1\n1,0\n"))
        archive.writestr("eight.json", json.dumps({"J": 8}))
    split = read.gaussian_process_split(path, "s")
    assert split["X"].tolist() == [[1, 2], [4, 5]]
    assert split["y"].tolist() == [3, 6]
    assert split["test_mask"].tolist() == [[False, True], [True, False]]
    assert read.posteriordb_data(path, "eight") == {"J": 8}
    with pytest.raises(UnknownName, match="Did you mean 'eight'"):
        read.posteriordb_data(path, "eigth")
    bits = np.random.default_rng(0).integers(0, 2, (3, 12)).astype(np.uint8)
    np.savez(tmp_path / "b.npz", x=np.packbits(bits, axis=1))
    np.testing.assert_array_equal(read.bits(tmp_path / "b.npz", 12)["x"], bits)
