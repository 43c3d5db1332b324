"""Saved fits that are damaged or crafted: one line that says what is wrong, and nothing is executed."""

import hashlib
import json
import zipfile

import numpy as np
import pytest
from tests.core.fits import D, a_fit

from jensen.core import StorageError
from jensen.core.storage import load_fit


def edit(change):
    def apply(path):
        header = json.loads((path / "fit.json").read_text())
        change(header)
        (path / "fit.json").write_text(json.dumps(header))

    return apply


def rewrite(change):
    """Other arrays under a right checksum: what someone who means harm would write."""

    def apply(path):
        with np.load(path / "arrays.npz") as archive:
            arrays = {name: archive[name] for name in archive.files}
        change(arrays, path / "arrays.npz")
        data = (path / "arrays.npz").read_bytes()
        edit(lambda h: h.update(arrays_bytes=len(data), arrays_sha256=hashlib.sha256(data).hexdigest()))(path)

    return apply


def pickled(arrays, file):
    np.savez(file, **{**arrays, "q/0": np.array([print, 1], object)}, allow_pickle=True)


def compressed(arrays, file):
    np.savez_compressed(file, **arrays)


def other_shape(arrays, file):
    np.savez(file, **{**arrays, "q/0": np.zeros(D + 1)})


def other_dtype(arrays, file):
    np.savez(file, **{**arrays, "q/0": np.full(D, "a")})


def missing_array(arrays, file):
    np.savez(file, **{n: a for n, a in arrays.items() if n != "run/0/objective"})


def no_zip(arrays, file):
    file.write_bytes(b"not an archive")


def huge(arrays, file):
    np.savez(file, **arrays)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(
            "big.npy",
            b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000000,), }".ljust(
                128
            ),
        )


def cut(path):
    data = (path / "arrays.npz").read_bytes()
    (path / "arrays.npz").write_bytes(data[: len(data) // 2])


def flip(path):
    data = bytearray((path / "arrays.npz").read_bytes())
    data[len(data) // 2] ^= 1
    (path / "arrays.npz").write_bytes(bytes(data))


DAMAGE = {
    "cut arrays": (cut, "truncated"),
    "flipped bit": (flip, "changed after"),
    "no arrays": (lambda p: (p / "arrays.npz").unlink(), "missing"),
    "no header": (lambda p: (p / "fit.json").unlink(), "not a saved fit"),
    "cut header": (lambda p: (p / "fit.json").write_text((p / "fit.json").read_text()[:300]), "not JSON"),
    "binary header": (lambda p: (p / "fit.json").write_bytes(b"\xff\xfe\x00"), "not JSON"),
    "NaN header": (lambda p: (p / "fit.json").write_text('{"format": NaN}'), "not JSON"),
    "deep header": (lambda p: (p / "fit.json").write_text("[" * 200_000), "not JSON"),
    "list header": (lambda p: (p / "fit.json").write_text("[]"), "not a saved fit"),
    "other format": (edit(lambda h: h.update(format="x")), "not a saved fit"),
    "newer": (edit(lambda h: h.update(version=99)), "newer"),
    "odd version": (edit(lambda h: h.update(version="1")), "damaged"),
    "no space": (edit(lambda h: h.pop("space")), "damaged"),
    "no variables": (edit(lambda h: h.update(space=[])), "damaged"),
    "huge shape": (edit(lambda h: h["space"][0].update(shape=[2**30, 2**30])), "too large"),
    "negative shape": (edit(lambda h: h["space"][0].update(shape=[-1])), "not a shape"),
    "odd support": (edit(lambda h: h["space"][0].update(kind="__import__")), "damaged"),
    "odd class": (edit(lambda h: h["posterior"].update({"class": "os.system"})), "unknown class"),
    "odd family": (edit(lambda h: h["posterior"]["family"].update({"class": "Popen"})), "damaged"),
    "family not public": (edit(lambda h: h["posterior"]["family"].update({"class": "kl_gaussian"})), "damaged"),
    "huge family": (edit(lambda h: h["posterior"]["family"]["config"].update(dimension=10**9)), "shape"),
    "runs are text": (edit(lambda h: h.update(runs="abc")), "damaged"),
    "odd stop": (edit(lambda h: h["runs"][0].update(stop=77)), "damaged"),
    "checks are numbers": (edit(lambda h: h["certificate"].update(checks=[1])), "damaged"),
    "pickle": (rewrite(pickled), "array file"),
    "compressed": (rewrite(compressed), "compressed"),
    "shape of a leaf": (rewrite(other_shape), "shape"),
    "dtype of a leaf": (rewrite(other_dtype), "dtype"),
    "missing array": (rewrite(missing_array), "missing"),
    "no archive": (rewrite(no_zip), "array file"),
    "array larger than memory": (rewrite(huge), "array file"),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return a_fit().save(tmp_path_factory.mktemp("saved") / "out")


@pytest.mark.parametrize(("damage", "words"), DAMAGE.values(), ids=DAMAGE.keys())
def test_damaged_and_crafted_files_give_one_line(damage, words, saved, tmp_path):
    path = tmp_path / "out"
    path.mkdir()
    for file in saved.iterdir():
        (path / file.name).write_bytes(file.read_bytes())
    damage(path)
    with pytest.raises(StorageError, match=words) as caught:
        load_fit(path)
    assert "\n" not in str(caught.value)
