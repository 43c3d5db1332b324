"""Files of data sets as dicts of arrays: read without extraction, without pickle, within limits of size."""

import csv
import gzip
import io
import json
import lzma
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from jensen.core import InputError, UnknownName
from jensen.datasets._places import DatasetError

LIMIT = 512 * 2**20  # bytes of one member, unpacked


def npz(path: Path, prefix: str = "") -> dict[str, np.ndarray]:
    """The arrays of an npz file whose names begin with `prefix`, which is taken off."""
    _check_members(path)
    with np.load(path, allow_pickle=False) as archive:
        return {name[len(prefix) :]: archive[name] for name in archive.files if name.startswith(prefix)}


def _check_members(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            large = [m.filename for m in archive.infolist() if m.file_size > LIMIT]
    except zipfile.BadZipFile as error:
        raise DatasetError(f"{path} is damaged: {error}") from error
    if large:
        raise DatasetError(f"{path}: {large[0]} unpacks to more than {LIMIT} bytes")


def member(path: Path, name: str) -> bytes:
    """The bytes of the member `name` of a zip file."""
    _check_members(path)
    with zipfile.ZipFile(path) as archive:
        return archive.read(name)


def document(path: Path) -> Any:
    """A JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


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
    rows = np.loadtxt(path, delimiter=",")
    return {"images": rows[:, :-1].reshape(-1, 8, 8), "labels": rows[:, -1].astype(int)}


def text(path: Path) -> dict[str, str]:
    """A text file, packed by xz or not."""
    data = lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()
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
    with gzip.GzipFile(fileobj=io.BytesIO(member(path, name))) as stream:
        data = stream.read(LIMIT + 1)
    if len(data) > LIMIT:
        raise DatasetError(f"{path}: {name} unpacks to more than {LIMIT} bytes")
    return np.loadtxt(io.BytesIO(data), delimiter=",", ndmin=2)


def posteriordb_data(path: Path, data: str | None = None) -> dict[str, Any]:
    """The data set `data` of posteriordb, its JSON object; without `data`, `{"names": (...)}`."""
    with zipfile.ZipFile(path) as archive:
        known = [name.removesuffix(".json") for name in archive.namelist()]
    if data is None:
        return {"names": tuple(known)}
    if data not in known:
        raise UnknownName("posteriordb data set", data, known)
    return json.loads(member(path, f"{data}.json"))


def reference_draws(path: Path, posterior: str | None = None) -> dict[str, np.ndarray]:
    """Reference draws (chains, draws, d) by posterior; of one `posterior` only, under the name `draws`."""
    if posterior is None:
        return npz(path)
    _check_members(path)
    with np.load(path, allow_pickle=False) as archive:
        if posterior not in archive.files:
            raise UnknownName("reference posterior", posterior, archive.files)
        return {"draws": archive[posterior]}


def check_options(name: str, given: dict[str, Any], allowed: tuple[str, ...]) -> None:
    """Raise `InputError` for an option that the data set does not have."""
    for option in given:
        if option not in allowed:
            words = f"has the options {', '.join(allowed)}" if allowed else "has no options"
            raise InputError(f"The data set {name!r} {words}, got {option!r}")
