"""Trees of Equinox modules as plain data and arrays, and back: classes come from a fixed list of names."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jensen.core._pack_posterior import Arrays, take
from jensen.core.errors import InputError

_PLAIN = (bool, int, float, str, type(None))


def pack_module(tree: Any, name: str, arrays: Arrays) -> dict[str, Any]:
    """`tree` (modules, tuples, lists, dicts, arrays, numbers, text, None) as plain data; arrays go into `arrays`.

    Raises `InputError` for anything else, such as a function.
    """
    match tree:
        case eqx.Module():
            fields = {f.name: pack_module(getattr(tree, f.name), name, arrays) for f in dataclasses.fields(tree)}
            return {"class": type(tree).__name__, "fields": fields}
        case jax.Array() | np.ndarray() if not jnp.issubdtype(tree.dtype, jax.dtypes.prng_key):
            arrays[f"{name}/{(at := sum(n.startswith(f'{name}/') for n in arrays))}"] = np.asarray(tree)
            return {"array": at}
        case tuple() | list():
            kind = "tuple" if isinstance(tree, tuple) else "list"
            return {kind: [pack_module(part, name, arrays) for part in tree]}
        case dict() if all(isinstance(key, str) and not key.startswith("$") for key in tree):
            return {"dict": {key: pack_module(part, name, arrays) for key, part in tree.items()}}
    if isinstance(tree, _PLAIN):
        return {"plain": tree}
    raise InputError(f"A part of class {type(tree).__name__} has no plain form and cannot be saved")


def unpack_module(spec: Any, name: str, arrays: Arrays, known: Mapping[str, type[eqx.Module]]) -> Any:
    """The tree of `spec`; its modules are of the classes in `known`, and every field is of its declared type.

    Raises `ValueError` for data that `pack_module` would not have made.
    """
    match spec:
        case {"class": str() as label, "fields": dict() as parts, **rest} if not rest:
            if label not in known:
                raise ValueError(f"unknown class {label!r}")
            return _built(known[label], {k: unpack_module(part, name, arrays, known) for k, part in parts.items()})
        case {"array": int() as at, **rest} if not rest:
            return jnp.asarray(take(arrays, f"{name}/{at}", None, "fiub"))
        case {"tuple": list() as parts, **rest} if not rest:
            return tuple(unpack_module(part, name, arrays, known) for part in parts)
        case {"list": list() as parts, **rest} if not rest:
            return [unpack_module(part, name, arrays, known) for part in parts]
        case {"dict": dict() as parts, **rest} if not rest:
            return {key: unpack_module(part, name, arrays, known) for key, part in parts.items()}
        case {"plain": value, **rest} if not rest:
            if not isinstance(value, _PLAIN):
                raise ValueError(f"{value!r} is not plain")
            return value
    raise ValueError("a part of no known kind")


def _built(cls: type[eqx.Module], values: dict[str, Any]) -> eqx.Module:
    fields = {f.name: f.type for f in dataclasses.fields(cls)}
    if fields.keys() != values.keys():
        raise ValueError(f"{cls.__name__} has other fields than {sorted(values)}")
    for name, value in values.items():
        declared = fields[name]
        if declared is not Any and isinstance(declared, type) and not isinstance(value, declared):
            raise ValueError(f"{name} of {cls.__name__} is a {type(value).__name__}")
    return cls(**values)
