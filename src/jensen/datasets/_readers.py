"""Files of data sets as dicts of arrays: read without extraction, without pickle, within limits of size."""

import csv
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from jensen.core import InputError, StorageError, UnknownName, archives
from jensen.datasets._places import DatasetError

LIMIT = 2**30  # bytes of one archive, unpacked


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Damage in a file of data as `DatasetError`."""
    try:
        yield
    except StorageError as error:
        raise DatasetError(f"{path} is damaged: {error}") from error


def npz(path: Path, prefix: str = "") -> dict[str, np.ndarray]:
    """The arrays of an npz file whose names begin with `prefix`, which is taken off."""
    with _reading(path):
        return archives.read_npz(path, prefix, LIMIT, archives.PINNED, "an archive of arrays")


def member(path: Path, name: str) -> bytes:
    """The bytes of the member `name` of a zip file."""
    with _reading(path):
        return archives.read_member(path, name, limit=LIMIT)


def document(path: Path) -> Any:
    """A JSON file."""
    return _parsed(path.read_bytes(), path)


def _parsed(data: bytes, path: Path) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path} is damaged: not JSON ({error})") from error


def radon(path: Path) -> dict[str, np.ndarray]:
    """Columns of ArviZ's `radon.json`: log radon, floor, county and the county's log uranium, a row a house."""
    raw = document(path)
    county = np.array(raw["county"])
    return {
        "log_radon": np.array(raw["y"], dtype=float),
        "floor": np.array(raw["x"], dtype=int),
        "county": np.array(raw["county_name"])[county],
        "log_uranium": np.array(raw["u"], dtype=float)[county],
    }


def breast_cancer(path: Path) -> dict[str, np.ndarray]:
    """scikit-learn's `breast_cancer.csv`: X (569, 30) and y, 1 where the tumour is benign."""
    rows = np.loadtxt(path, delimiter=",", skiprows=1)
    return {"X": rows[:, :-1], "y": rows[:, -1].astype(int)}


def digits(path: Path) -> dict[str, np.ndarray]:
    """scikit-learn's `digits.csv.gz`: images (1797, 8, 8) of 0 .. 16, and labels."""
    with _reading(path):
        data = archives.unpack_gzip(path.read_bytes(), LIMIT)
    rows = np.loadtxt(io.BytesIO(data), delimiter=",")
    return {"images": rows[:, :-1].reshape(-1, 8, 8), "labels": rows[:, -1].astype(int)}


def text(path: Path) -> dict[str, str]:
    """A text file, packed by xz or not."""
    data = path.read_bytes()
    if path.suffix == ".xz":
        with _reading(path):
            data = archives.unpack_xz(data, LIMIT)
    return {"text": data.decode("utf-8")}


def expression_table(path: Path) -> dict[str, np.ndarray]:
    """A CSV of numbers with a header and a label a row: X (n, p), labels (n,), columns (p,)."""
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    numbers = np.array([row[1:] for row in rows], dtype=float)
    return {"X": numbers, "labels": np.array([row[0] for row in rows]), "columns": np.array(header[1:])}


def bits(path: Path, width: int) -> dict[str, np.ndarray]:
    """An npz file of packed bits, unpacked to (n, width) arrays of 0 and 1."""
    return {name: np.unpackbits(array, axis=1)[:, :width] for name, array in npz(path).items()}


def piano_rolls(path: Path, prefix: str) -> dict[str, np.ndarray]:
    """Sequences end to end: `train` (total, 88) of 0 and 1 with lengths `train_len`; so for `valid` and `test`."""
    arrays = npz(path, prefix)
    rolls = {part: np.unpackbits(arrays[f"{part}_rolls_packed"], axis=1)[:, :88] for part in ("train", "valid", "test")}
    return rolls | {f"{part}_len": arrays[f"{part}_len"] for part in rolls}


def gaussian_process_split(path: Path, name: str) -> dict[str, np.ndarray]:
    """One set of the archive of ten test masks: X (n, d), y (n,), test_mask (n, 10)."""
    rows = _gzipped_csv(path, f"{name}/data.csv.gz")
    mask = _gzipped_csv(path, f"{name}/test_mask.csv.gz").astype(bool)
    return {"X": rows[:, :-1], "y": rows[:, -1], "test_mask": mask}


def _gzipped_csv(path: Path, name: str) -> np.ndarray:
    with _reading(path):
        data = archives.unpack_gzip(member(path, name), LIMIT)
    return np.loadtxt(io.BytesIO(data), delimiter=",", ndmin=2)


def posteriordb_data(path: Path, data: str | None = None) -> dict[str, Any]:
    """The data set `data` of posteriordb, its JSON object; without `data`, `{"names": (...)}`."""
    with _reading(path):
        known = [name.removesuffix(".json") for name in archives.member_names(path, LIMIT, archives.PINNED)]
    if data is None:
        return {"names": tuple(known)}
    if data not in known:
        raise UnknownName("posteriordb data set", data, known)
    return _parsed(member(path, f"{data}.json"), path)


def reference_draws(path: Path, posterior: str | None = None) -> dict[str, np.ndarray]:
    """Reference draws (chains, draws, d) by posterior; of one `posterior` only, under the name `draws`."""
    if posterior is None:
        return npz(path)
    with _reading(path):
        known = [name.removesuffix(".npy") for name in archives.member_names(path, LIMIT, archives.PINNED)]
    if posterior not in known:
        raise UnknownName("reference posterior", posterior, known)
    return {"draws": npz(path, f"{posterior}.npy")[""]}


def check_options(name: str, given: dict[str, Any], allowed: tuple[str, ...]) -> None:
    """Raise `InputError` for an option that the data set does not have."""
    for option in given:
        if option not in allowed:
            words = f"has the options {', '.join(allowed)}" if allowed else "has no options"
            raise InputError(f"The data set {name!r} {words}, got {option!r}")
