"""Saving and loading fits: a folder of strict JSON and plain arrays, written in one piece; loading executes nothing."""

import hashlib
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from jensen.core import _plain
from jensen.core._pack_posterior import (
    Arrays,
    pack_posterior,
    pack_space,
    take,
    unpack_posterior,
    unpack_space,
)
from jensen.core._pack_records import pack_certificate, pack_run, unpack_certificate, unpack_run
from jensen.core.archives import read_npz
from jensen.core.errors import StorageError
from jensen.core.files import PROGRESS, cause, pack_arrays
from jensen.core.folders import mend, replace_folder
from jensen.core.result import Fit

FORMAT = "jensen-fit"
VERSION = 1
HEADER, ARRAYS = "fit.json", "arrays.npz"
CHECKPOINT = "checkpoint"  # a folder in it, of the command, while a fit is not finished
OURS = {HEADER, ARRAYS, "report.html", "posterior.nc", CHECKPOINT, PROGRESS}
_MAX_HEADER = 2**26  # bytes
_MIN_FREE = 2**20  # bytes


def check_folder(path: str | Path, overwrite: bool = False) -> Path:
    """`path`, if a fit can be saved there; nothing is written, so that it can be asked before a long run.

    Only what a save that was killed left beside it is put in order (`folders.mend`).

    Raises `StorageError` if it is a file, a folder that is not empty (unless `overwrite` and all in it is a fit of
    Jensen, or it holds nothing but the checkpoint of an unfinished one), not writable, or on a full disk.
    """
    path = Path(path).resolve()  # a link to a folder stays a link, and the folder that it names is written to
    mend(path)
    if path.exists() and not path.is_dir():
        raise StorageError(f"{path} is a file: choose a folder")
    names = {p.name for p in path.iterdir()} if path.is_dir() else set()
    if names - {CHECKPOINT, PROGRESS} and HEADER not in names:  # of a run that was stopped before it had a fit
        raise StorageError(f"{path} is not empty and holds no fit of Jensen: choose a new folder")
    if HEADER in names and not overwrite:
        raise StorageError(
            f"{path} already holds a fit: choose another folder, or overwrite it (overwrite=True, --overwrite)"
        )
    if names - OURS:
        raise StorageError(
            f"{path} holds files besides its fit ({', '.join(sorted(names - OURS)[:3])}), which would be removed: "
            "move them, or choose another folder"
        )
    above = path.parent
    while not above.exists():
        above = above.parent
    if not above.is_dir():
        raise StorageError(f"Cannot write {path}: {above} is a file; choose another folder")
    if not os.access(above, os.W_OK | os.X_OK):
        raise StorageError(f"Cannot write {path}: {above} is not writable; choose another folder")
    if shutil.disk_usage(above).free < _MIN_FREE:
        raise StorageError(f"Cannot write {path}: no space is left on the disk; free some and run again")
    return path


def save_fit(fit: Fit, path: str | Path, overwrite: bool = False) -> Path:
    """Write `fit` into the folder `path`: `fit.json` and `arrays.npz`, both or neither.

    A posterior on a plain space is kept exactly: the same key gives the same draws, bit for bit, after loading. Where a
    model is needed to compute values (supports that depend on other unknowns, deterministic sites) 4,000 draws of every
    site are kept instead.

    Raises `StorageError` as `check_folder` does, and if the disk is full.
    """
    path = check_folder(path, overwrite)
    arrays: Arrays = {}
    header = _pack(fit, arrays)
    data = pack_arrays(arrays)
    header |= {"arrays_sha256": hashlib.sha256(data).hexdigest(), "arrays_bytes": len(data)}
    files = {ARRAYS: data, HEADER: _plain.dumps(header).encode()}
    told = path / PROGRESS
    replace_folder(path, files | ({PROGRESS: told.read_bytes()} if told.is_file() else {}))
    return path


def load_fit(path: str | Path, families: tuple[type, ...] = ()) -> Fit:
    """The fit in the folder `path`; the model is not needed, and nothing from the files is executed.

    Arrays have the width they were saved in, or single precision where this process has no other (`JAX_ENABLE_X64`).
    `families`: classes of your own, besides those of `jensen.families`, that a density may be rebuilt from.

    Raises `StorageError` if there is no such folder, or it is no fit of Jensen, of a newer version, or damaged.
    """
    path = Path(path)
    if not path.exists():
        mend(path.resolve())
    header = _read_header(path)
    arrays = _read_arrays(path / ARRAYS, header)
    try:
        return _unpack(header, arrays, families)
    except Exception as error:  # plain data of the wrong kind fails in as many ways as there are parts to rebuild
        raise StorageError(
            f"{path / HEADER} is damaged or was edited ({type(error).__name__}: {_short(error)}): save the fit again"
        ) from error


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _read_header(path: Path) -> dict[str, Any]:
    file = path / HEADER
    if not path.exists():
        raise StorageError(f"There is no folder {path}: give the folder that fit.save wrote, or --out named")
    if not path.is_dir() or not file.is_file():
        raise StorageError(f"{path} is not a saved fit of Jensen: it has no {HEADER}")
    try:
        if file.stat().st_size > _MAX_HEADER:
            raise StorageError(f"{file} is larger than any that Jensen writes")
        header = _plain.loads(file.read_bytes().decode())
    except ValueError as error:
        raise StorageError(f"{file} is truncated or not JSON ({error}): save the fit again") from error
    except OSError as error:
        raise StorageError(f"Cannot read {file}: {cause(error)}") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise StorageError(f"{path} is not a saved fit of Jensen: {HEADER} has another format")
    version = header.get("version")
    if not isinstance(version, int) or version < 1:
        raise StorageError(f"{file} is damaged: version {version!r}")
    if version > VERSION:
        raise StorageError(
            f"{path} was saved by a newer Jensen (format {version}, this one reads {VERSION}): upgrade Jensen"
        )
    return header


def _read_arrays(file: Path, header: dict[str, Any]) -> Arrays:
    try:
        data = file.read_bytes()
    except FileNotFoundError as error:
        raise StorageError(f"{file} is missing: copy the whole folder again") from error
    except OSError as error:
        raise StorageError(f"Cannot read {file}: {cause(error)}") from error
    if len(data) != header.get("arrays_bytes"):
        raise StorageError(
            f"{file} is truncated or was replaced ({len(data)} bytes, {header.get('arrays_bytes')} were saved): "
            "copy it again"
        )
    if hashlib.sha256(data).hexdigest() != header.get("arrays_sha256"):
        raise StorageError(f"{file} was changed after it was saved (its SHA-256 differs): copy it again")
    try:
        return read_npz(data, methods=(zipfile.ZIP_STORED,))
    except StorageError as error:
        raise StorageError(f"{file} is not an array file of Jensen ({error})") from error


def _pack(fit: Fit, arrays: Arrays) -> dict[str, Any]:
    seed = fit.info.get("seed")
    header = {
        "format": FORMAT,
        "version": VERSION,
        "space": pack_space(fit.posterior.space, arrays),
        "posterior": pack_posterior(fit.posterior, seed if isinstance(seed, int) and 0 <= seed < 2**31 else 0, arrays),
        "certificate": pack_certificate(fit.certificate),
        "runs": [pack_run(run, f"run/{i}", arrays) for i, run in enumerate(fit.runs)],
        "info": fit.info,
    }
    for group, values in (("predictive", fit.predictive), ("observed", fit.observed)):
        header[group] = list(values)
        arrays.update({f"{group}/{i}": np.asarray(v) for i, v in enumerate(values.values())})
    return header


def _unpack(header: dict[str, Any], arrays: Arrays, families: tuple[type, ...]) -> Fit:
    space = unpack_space(header["space"], arrays)
    posterior = unpack_posterior(header["posterior"], space, arrays, families)
    runs = tuple(unpack_run(run, f"run/{i}", arrays) for i, run in enumerate(header["runs"]))
    groups = [
        {str(n): take(arrays, f"{group}/{i}", None, "fiubcUS") for i, n in enumerate(header[group])}
        for group in ("predictive", "observed")
    ]
    certificate = unpack_certificate(header["certificate"])
    return Fit(posterior, certificate, runs, dict(header["info"]), predictive=groups[0], observed=groups[1])
