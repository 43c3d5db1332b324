"""MODEL, --data and --prior of the command line as a target."""

import dataclasses
import hashlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jensen.core import InputError, UnknownName

_PRIOR = re.compile(r"^\s*(?P<name>.+?)\s*=\s*(?P<dist>[A-Za-z_]\w*)\s*\((?P<numbers>[^()]*)\)\s*$")


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A target, its title, and where its data come from (plain data for the record)."""

    target: Any
    title: str
    data: dict[str, Any]
    labels: dict[str, Any]
    priors: str


def load_model(model: str, data: str | None, family: str, priors: Sequence[str], missing: str) -> Loaded:
    """The target of `MODEL`: a formula (it holds a `~`), `file.py:function`, or the name of a posterior of posteriordb.

    Raises `InputError` or one of its kind for whatever cannot be used.
    """
    if "~" in model:
        return _formula(model, data, family, parse_priors(priors), missing)
    if priors or family != "gaussian":
        raise InputError("--prior and --family belong to formulas: write MODEL as a formula such as 'y ~ x + (1|g)'")
    if re.search(r"\.py:\w*$", model):
        return _function(model, data)
    if model.endswith(".py"):
        raise InputError(f"Which function of {model}? Write {model}:NAME")
    return _posteriordb(model, data)


def parse_priors(texts: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    """`name=dist(numbers)` as `{name: (dist, number, ...)}`; read as text, never evaluated. Raises `InputError`."""
    out: dict[str, tuple[Any, ...]] = {}
    for text in texts:
        match = _PRIOR.match(text)
        if match is None:
            raise InputError(f"--prior {text!r} is not of the form name=dist(numbers), as in --prior 'x=normal(0, 1)'")
        if match["name"] in out:
            raise InputError(f"--prior gives {match['name']!r} twice: keep one")
        parts = [part for part in match["numbers"].split(",") if part.strip()]
        try:
            out[match["name"]] = (match["dist"], *(float(part) for part in parts))
        except ValueError as error:
            raise InputError(f"--prior {text!r}: {match['numbers']!r} is not a list of numbers") from error
    return out


def read_data(data: str) -> tuple[Any, dict[str, Any]]:
    """(table, record of it): the file `data`, or the data set of that name."""
    from jensen import datasets

    path = Path(data)
    if not path.exists() and "." not in path.name and "/" not in data:
        if data not in datasets.names():
            raise UnknownName("data set", data, datasets.names())
        return datasets.load(data), {"data set": data}
    frame = datasets.read_table(path)
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return frame, {"file": str(path), "sha256": sha256, "rows": frame.height}


def _formula(formula: str, data: str | None, family: str, priors: dict[str, Any], missing: str) -> Loaded:
    if data is None:
        raise InputError("A formula needs a table: add --data FILE.csv (or .parquet, or the name of a data set)")
    from jensen.targets import from_formula

    frame, record = read_data(data)
    target = from_formula(formula, frame, family=family, priors=priors or None, missing=missing)
    record |= {"family": family, "rows left out": target.rows_dropped or None}
    labels = {name: [list(axis) for axis in axes] for name, axes in target.labels.items()}
    return Loaded(target, formula, record, labels, str(target.priors))


def _function(model: str, data: str | None) -> Loaded:
    from jensen.targets import from_numpyro
    from jensen.targets.wrappers.enumerated import enumerated

    place, _, name = model.rpartition(":")
    fn = _import(Path(place), name)
    columns, record = ({}, {}) if data is None else _columns(data)
    accepted = inspect.signature(fn).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in accepted.values()):
        columns = {n: v for n, v in columns.items() if n in accepted}
    required = [
        n for n, p in accepted.items() if p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]
    lacking = [n for n in required if n not in columns]
    if lacking:
        given = "no table was given (--data FILE)" if data is None else f"{data} has no such column"
        raise InputError(f"{name} needs {', '.join(map(repr, lacking))}, and {given}")
    record["model_sha256"] = hashlib.sha256(Path(place).read_bytes()).hexdigest()
    return Loaded(enumerated(from_numpyro(fn, **columns)), model, record, {}, "")


def _columns(data: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Columns as arrays; text columns as codes 0, 1, ... of their sorted levels."""
    import numpy as np

    frame, record = read_data(data)
    out = {}
    for name in frame.columns if hasattr(frame, "columns") else frame:
        values = frame[name].to_numpy() if hasattr(frame, "columns") else np.asarray(frame[name])
        if values.dtype.kind in "OUS":
            if any(value is None for value in values.ravel().tolist()):
                raise InputError(f"Column {name!r} of {data} has missing values: drop or fill them first")
            values = np.unique(values.astype(str), return_inverse=True)[1]
        out[name] = values
    return out, record


def _import(path: Path, name: str) -> Any:
    if not path.is_file():
        raise InputError(f"There is no file {path}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    sys.path.insert(0, str(path.parent.resolve()))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise InputError(f"{path} fails when it is imported: {type(error).__name__}: {error}") from error
    finally:
        sys.path.pop(0)
    functions = [
        n for n, member in vars(module).items() if inspect.isfunction(member) and member.__module__ == path.stem
    ]
    if name not in vars(module):
        raise UnknownName(f"function in {path}", name, functions)
    if not callable(getattr(module, name)):
        raise InputError(f"{name} in {path} is not a function")
    return getattr(module, name)


def _posteriordb(name: str, data: str | None) -> Loaded:
    from jensen.targets import posteriordb

    if data is not None:
        raise InputError(
            f"{name!r} would be a posterior of posteriordb, with its own data: leave out --data, or write a formula"
        )
    return Loaded(posteriordb(name), name, {"posteriordb": name}, {}, "")
