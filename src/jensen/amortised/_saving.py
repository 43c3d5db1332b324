"""A trained conditional density in one file of plain arrays and JSON: loading executes nothing."""

import sys
from pathlib import Path
from typing import Any

import equinox as eqx
import numpy as np

from jensen import families
from jensen.amortised._layers import Perceptron, Standard, Transformer
from jensen.core import InputError, Space, StorageError, _plain
from jensen.core._pack_module import pack_module, unpack_module
from jensen.core._pack_posterior import Arrays, pack_space, unpack_space
from jensen.core._pack_records import pack_run, unpack_run
from jensen.core.files import pack_arrays, read_arrays, write_atomic

FORMAT, VERSION = "jensen-amortisation", 1


def known(extra: tuple[type, ...] = ()) -> dict[str, type[eqx.Module]]:
    """The classes that a saved conditional may be made of, by name: public ones, their layers, and `extra`."""
    modules = sys.modules["jensen.amortised"], families
    public = [getattr(module, name) for module in modules for name in module.__all__]
    parts = [c for c in (Perceptron, Standard, Transformer, *public, *extra) if isinstance(c, type)]
    return {c.__name__: c for c in parts if issubclass(c, eqx.Module)}


def save(trained: Any, path: Path, overwrite: bool) -> Path:
    """Write an `Amortisation`. Raises `InputError` for parts without a plain form, `StorageError` as `VAE.save`."""
    if path.exists() and not overwrite:
        raise StorageError(f"{path} exists: choose another file, or overwrite it (overwrite=True)")
    arrays: Arrays = {}
    space: Space = trained.space
    header = {
        "format": FORMAT,
        "version": VERSION,
        "conditional": pack_module(trained.conditional, "q", arrays),
        "space": pack_space(space.plain(), arrays),
        "program": space.program is not None,
        "run": pack_run(trained.run, "run", arrays),
    }
    arrays["header"] = np.frombuffer(_plain.dumps(header).encode(), np.uint8)
    write_atomic(path, pack_arrays(arrays))
    return path


def read(path: Path, simulator: Any, extra: tuple[type, ...]) -> tuple[Any, Space, Any]:
    """(conditional, space, run) of the file. Raises `StorageError` for one that is missing, truncated or foreign."""
    arrays = read_arrays(path)
    try:
        header = _plain.loads(arrays.pop("header").tobytes().decode())
        if header["format"] != FORMAT or header["version"] > VERSION:
            raise ValueError(f"format {header['format']!r} {header['version']}, this Jensen reads {FORMAT} {VERSION}")
        conditional = unpack_module(header["conditional"], "q", arrays, known(extra))
        space, needs = unpack_space(header["space"], arrays), bool(header["program"])
        if conditional.dimension != space.dimension:
            raise ValueError(f"the conditional is on R^{conditional.dimension}, the space R^{space.dimension}")
        run = unpack_run(header["run"], "run", arrays)
    except Exception as error:  # plain data of the wrong kind fails in as many ways as there are parts to rebuild
        words = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        raise StorageError(f"{path} is no amortised posterior of Jensen, or was damaged ({words})") from error
    if simulator is not None:
        same = _plain.dumps(pack_space(simulator.space.plain(), {})) == _plain.dumps(pack_space(space, {}))
        if not same:
            raise InputError(f"{path} holds an amortised posterior of other unknowns than the simulator's")
        space = simulator.space
    elif needs:
        raise InputError(f"{path}: supports depend on other unknowns, give the simulator too: load(path, simulator)")
    return conditional, space, run
