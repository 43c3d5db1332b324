"""Archives made to do harm: refused before memory is taken, and nothing in them is unpickled or extracted."""

import gzip
import io
import lzma
import pickle
import tracemalloc
import zipfile

import numpy as np
import pytest

from jensen.core import StorageError, archives


class Owned:
    """A pickle of it creates the file `owned` when it is read."""

    def __reduce__(self):
        return (open, ("owned", "w"))


def npy(header, data=b"", version=(1, 0)):
    text = header.encode() if isinstance(header, str) else header
    size = len(text).to_bytes(2 if version == (1, 0) else 4, "little")
    return b"\x93NUMPY" + bytes(version) + size + text + data


def described(shape, descr="'<f8'", data=b""):
    return npy(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n", data)


def zipped(members, method=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return buffer.getvalue()


def test_arrays_come_back_in_the_order_of_the_machine(tmp_path):
    arrays = {
        "a": np.arange(6.0).reshape(2, 3).T,
        "b": np.array(["x", "yz"]),
        "c": np.arange(3, dtype=">i4"),
        "d": np.zeros((0, 3)),
        "e": np.array(True),
        "f": np.array([b"u", b""]),
        "g/h": np.ones(2, np.float16),
    }
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "x.npz", **arrays)
        back = archives.read_npz(tmp_path / "x.npz")
        assert list(back) == list(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(back[name], array)
            assert back[name].dtype.isnative
    assert list(archives.read_npz(tmp_path / "x.npz", "g/")) == ["h"]


def pickled_members():
    objects = np.empty(1, object)
    objects[0] = Owned()
    buffer = io.BytesIO()
    np.save(buffer, objects, allow_pickle=True)
    return buffer.getvalue()


CRAFTED = {
    "objects": zipped([("a.npy", pickled_members())]),
    "pickle as an archive": pickle.dumps(Owned()),
    "pickle as an array": zipped([("a.npy", pickle.dumps(Owned()))]),
    "pickle as another member": zipped([("a.pkl", pickle.dumps(Owned()))]),
    "records of objects": zipped([("a.npy", described((1,), "[('x', '|O')]", b"0" * 8))]),
    "records": zipped([("a.npy", described((1,), "[('x', '<f8')]", b"0" * 8))]),
    "code in the header": zipped(
        [("a.npy", npy("{'descr': open('owned', 'w'), 'shape': (), 'fortran_order': False}"))]
    ),
    "a petabyte promised": zipped([("a.npy", described((10**15,)))]),
    "a product that overflows": zipped([("a.npy", described((2**32, 2**32)))]),
    "a negative size": zipped([("a.npy", described((-1,)))]),
    "two negative sizes": zipped([("a.npy", described((-2, -2), data=b"0" * 32))]),
    "empty text without number": zipped([("a.npy", described((10**15,), "'<U0'"))]),
    "no entries of endless axes": zipped([("a.npy", described((0, 10**30)))]),
    "too little": zipped([("a.npy", described((3,), data=b"0" * 16))]),
    "too much": zipped([("a.npy", described((1,), data=b"0" * 16))]),
    "a header without end": zipped([("a.npy", npy("(" * 9000))]),
    "a header of nests": zipped([("a.npy", npy("(" * 4000 + ")" * 4000))]),
    "a header that is larger than its array": zipped([("a.npy", b"\x93NUMPY\x02\x00\xff\xff\xff\xff")]),
    "a version of tomorrow": zipped([("a.npy", npy("{}", version=(9, 9)))]),
    "an odd type": zipped([("a.npy", described((1,), "'<f99'"))]),
    "not UTF-8": zipped([("a.npy", npy(b"\xff\xfe"))]),
    "a bomb of zeros": zipped([("a.npy", b"\0" * 2**29)], zipfile.ZIP_DEFLATED),
    "a bomb of xz": zipped([("a.npy", b"\0" * 2**20)], zipfile.ZIP_LZMA),
    "a bomb of bz2": zipped([("a.npy", b"\0" * 2**20)], zipfile.ZIP_BZIP2),
    "a path up": zipped([("../../a.npy", described((1,), data=b"0" * 8))]),
    "a path of Windows": zipped([("..\\a.npy", described((1,), data=b"0" * 8))]),
    "a path from the root": zipped([("/tmp/a.npy", described((1,), data=b"0" * 8))]),
    "a folder": zipped([("a.npy/", b"")]),
    "an archive in an archive": zipped([("a.npy", zipped([("b.npy", b"")]))]),
    "half": zipped([("a.npy", described((9,), data=b"0" * 72))])[:90],
    "nothing": b"",
    "text": b"hello",
    "an array that is no archive": described((1,), data=b"0" * 8),
}


@pytest.mark.parametrize("name", CRAFTED)
def test_crafted_archives_are_one_error(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.npz").write_bytes(CRAFTED[name])
    tracemalloc.start()
    try:
        for source in (CRAFTED[name], tmp_path / "x.npz"):
            with pytest.raises(StorageError) as caught:
                archives.read_npz(source)
            assert "\n" not in str(caught.value)
            assert len(str(caught.value)) < 600
        assert tracemalloc.get_traced_memory()[1] < 2**25
    finally:
        tracemalloc.stop()
    assert not (tmp_path / "owned").exists()


def test_the_pickle_would_run_where_pickles_are_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with np.load(io.BytesIO(CRAFTED["objects"]), allow_pickle=True) as archive:
        archive["a"][0].close()
    assert (tmp_path / "owned").exists()


def overlapping():
    """Many names for one member (Fifield, 2019): a few kilobytes that unpack to as much as one likes."""
    data = bytearray(zipped([("a.npy", described((2**17,), data=b"\0" * 2**20))], zipfile.ZIP_DEFLATED))
    end = data.rindex(b"PK\x05\x06")
    begin = int.from_bytes(data[end + 16 : end + 20], "little")
    entry, out = bytes(data[begin:end]), data[:begin]
    for i in range(1000):
        out += entry.replace(b"a.npy", f"{i:05d}".encode())
    size = len(out) - begin
    return (
        bytes(out)
        + b"PK\x05\x06"
        + bytes(4)
        + (1000).to_bytes(2, "little") * 2
        + size.to_bytes(4, "little")
        + begin.to_bytes(4, "little")
        + bytes(2)
    )


def test_overlapping_members_are_no_bomb():
    with pytest.raises(StorageError, match=r"unpacks to more|Overlapped|differ"):
        archives.read_npz(overlapping())


def test_members_of_one_name_are_refused():
    data = described((1,), data=b"0" * 8)
    with pytest.warns(UserWarning, match="Duplicate"):
        twice = zipped([("a.npy", data), ("a.npy", data)])
    with pytest.raises(StorageError, match="one name"):
        archives.read_npz(twice)


def test_limits_hold_for_every_archive(monkeypatch):
    real = np.arange(1000.0)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, x=real)
    np.testing.assert_array_equal(archives.read_npz(buffer.getvalue(), limit=9000)["x"], real)
    for limit in (8000, 100):
        with pytest.raises(StorageError, match=f"more than {limit} bytes"):
            archives.read_npz(buffer.getvalue(), limit=limit)
    monkeypatch.setattr(archives, "FREE", 1000)
    monkeypatch.setattr(archives, "RATIO", 10)
    for pack, unpack in ((gzip.compress, archives.unpack_gzip), (lzma.compress, archives.unpack_xz)):
        assert unpack(pack(b"a" * 900)) == b"a" * 900
        with pytest.raises(StorageError, match="unpacks to more"):
            unpack(pack(b"a" * 2**16))
        with pytest.raises(StorageError):
            unpack(pack(b"abc" * 9)[:-9])
        with pytest.raises(StorageError):
            unpack(b"nothing of the kind")
    with pytest.raises(StorageError, match="unpacks to more"):
        archives.read_npz(zipped([("a.npy", described((2**13,), data=b"\0" * 2**16))], zipfile.ZIP_DEFLATED))
