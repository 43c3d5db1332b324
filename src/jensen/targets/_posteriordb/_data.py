"""Reading the posteriordb archive under `$JENSEN_DATA/posteriordb`: data sets, reference draws and their summaries."""

import functools
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from jensen.core import InputError

FILES = ("data.zip", "reference_draws.npz", "reference_summaries.json")
_ORIGIN = "the public original is the GitHub repository stan-dev/posteriordb, commit 28f8d3d"
_MAX_BYTES = 64 * 2**20  # a member of the archive unpacked; the largest in use has 2.3 MB
_COUNTS = frozenset({"k", "age_discrete"})  # fields that Stan declares as arrays of integers


def folder() -> Path:
    """The folder of the archive. Raises `InputError` if JENSEN_DATA is not set or files are missing."""
    root = os.environ.get("JENSEN_DATA")
    if not root:
        raise InputError(
            "posteriordb's data are not part of this package: set JENSEN_DATA to a folder that holds "
            f"posteriordb/{{{','.join(FILES)}}}; {_ORIGIN}"
        )
    path = Path(root) / "posteriordb"
    missing = [name for name in FILES if not (path / name).is_file()]
    if missing:
        raise InputError(f"{path} lacks {', '.join(missing)}: check JENSEN_DATA ({root}); {_ORIGIN}")
    return path


def data_set(name: str) -> dict[str, Any]:
    """Fields of the data set `name`: arrays read-only, real unless Stan declares integers; sizes Python numbers.

    Raises `InputError` if the archive is missing or damaged, or has no such data set.
    """
    return dict(_data_set(folder(), name))


@functools.lru_cache(maxsize=64)
def _data_set(path: Path, name: str) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path / "data.zip") as archive:
            member = archive.getinfo(f"{name}.json")
            if member.file_size > _MAX_BYTES:
                raise InputError(f"{path / 'data.zip'}: {member.filename} unpacks to {member.file_size} bytes: {_ORIGIN}")
            fields = json.loads(archive.read(member))
    except (zipfile.BadZipFile, KeyError, OSError, ValueError) as error:
        raise _damaged(path / "data.zip", name, error) from error
    return {field: _value(field, value) for field, value in fields.items()}


def _value(field: str, value: Any) -> Any:
    if isinstance(value, int):
        return value
    array = np.asarray(value, np.int64 if field in _COUNTS else np.float64)
    array.setflags(write=False)
    return array


def reference_draws(name: str) -> np.ndarray:
    """Reference draws (10 chains, 1000 draws, d) of the posterior `name`, read-only."""
    return _reference_draws(folder(), name)


@functools.lru_cache(maxsize=64)
def _reference_draws(path: Path, name: str) -> np.ndarray:
    try:
        with np.load(path / "reference_draws.npz", allow_pickle=False) as archive:
            draws = archive[name].astype(np.float64)
    except (zipfile.BadZipFile, KeyError, OSError, ValueError, EOFError) as error:
        raise _damaged(path / "reference_draws.npz", name, error) from error
    draws.setflags(write=False)
    return draws


def reference_summary(name: str) -> dict[str, Any]:
    """Names of the parameters, moments and effective sample sizes of the full-precision reference draws."""
    return _summaries(folder())[name]


@functools.lru_cache(maxsize=4)
def _summaries(path: Path) -> dict[str, Any]:
    try:
        return json.loads((path / "reference_summaries.json").read_bytes())
    except (OSError, ValueError) as error:
        raise _damaged(path / "reference_summaries.json", "reference summaries", error) from error


def _damaged(path: Path, name: str, error: Exception) -> InputError:
    return InputError(f"Cannot read {name} from {path} ({type(error).__name__}: {error}): restore the file; {_ORIGIN}")
