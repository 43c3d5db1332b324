"""Any object as words, part by part, the same in every process: settings by value, arrays and functions by digest."""

import dataclasses
import enum
import functools
import hashlib
import inspect
import re
import sys
import types
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

_PLAIN = (int, float, complex, str, bool, type(None), enum.Enum, np.dtype)
_ADDRESS = re.compile(r"0x[0-9a-fA-F]+")
_LONG = 32  # entries of a plain list that are shown one by one, and letters of a text
_DEEP = 40


def describe(value: Any, name: str) -> dict[str, str]:
    """Words on `value` and on all its parts, under `name` and the paths from there."""
    walk = _Walk()
    walk.add(name, value)
    return walk.parts


def digest_of(words: str) -> str | None:
    """Dtype and shape in the words on an array, None if they are not on an array."""
    return words.partition(" sha256:")[0] if " sha256:" in words else None


def _sha(data: Any) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


class _Walk:
    """One pass over an object: `parts` by path; an object that holds itself is entered once."""

    def __init__(self, within: frozenset[int] = frozenset()):
        self.parts: dict[str, str] = {}
        self.within = within

    def add(self, path: str, value: Any) -> None:
        """Describe `value` under `path`."""
        if isinstance(value, _PLAIN):
            self.parts[path] = _plain(value)
        elif eqx.is_array(value) or isinstance(value, np.ndarray | np.generic):
            self.parts[path] = _array(value)
        elif id(value) in self.within or len(self.within) > _DEEP:
            self.parts[path] = f"{_name(type(value))}, seen"
        else:
            outer, self.within = self.within, self.within | {id(value)}
            self._add_compound(path, value)
            self.within = outer

    def _add_compound(self, path: str, value: Any) -> None:
        if isinstance(value, type):
            self.parts[path] = _class(value, self.within)
        elif isinstance(value, functools.partial):
            self._add_all(path, "partial", {"func": value.func, "args": value.args, "keywords": value.keywords})
        elif isinstance(value, types.MethodType):
            self._add_all(path, "method", {"func": value.__func__, "self": value.__self__})
        elif isinstance(value, types.FunctionType):
            self.parts[path] = _function(value, self.within)
        elif isinstance(value, bytes | bytearray | memoryview):
            self.parts[path] = f"bytes[{len(value)}] sha256:{_sha(value)}"
        elif isinstance(value, dict):
            self._add_all(path, "", {f"[{key!r}]": item for key, item in value.items()}, joint="")
        elif isinstance(value, list | tuple):
            self._add_sequence(path, value)
        elif isinstance(value, set | frozenset):
            self.parts[path] = f"set[{len(value)}] sha256:{_sha(repr(sorted(map(repr, value))).encode())}"
        elif dataclasses.is_dataclass(value):
            fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if hasattr(value, f.name)}
            self._add_all(path, _class(type(value), self.within), fields)
        elif hasattr(value, "__wrapped__"):  # jitted and cached functions
            self.add(path, value.__wrapped__)
        else:
            self._add_other(path, value)

    def _add_other(self, path: str, value: Any) -> None:
        """An object of a class that is none of the above, perhaps of another library."""
        leaves, structure = jax.tree.flatten(value)
        if len(leaves) != 1 or leaves[0] is not value:
            inner = {f"[{i}]": leaf for i, leaf in enumerate(leaves)}
            self._add_all(path, f"{_name(type(value))} {_sha(_still(structure).encode())}", inner, joint="")
        elif hasattr(value, "__array__"):  # tables
            self.add(path, np.asarray(value))
        elif _installed(type(value)) or not hasattr(value, "__dict__"):
            told = not callable(value) and type(value).__repr__ is not object.__repr__
            self.parts[path] = _still(value) if told else getattr(value, "__qualname__", "") or _name(type(value))
        else:
            self._add_all(path, _class(type(value), self.within), vars(value))

    def _add_sequence(self, path: str, value: Any) -> None:
        if all(isinstance(item, _PLAIN) for item in value) or len(value) > 10_000:
            words = repr([_plain(v) if isinstance(v, _PLAIN) else _still(v) for v in value])
            short = len(value) <= _LONG and len(words) <= 8 * _LONG
            sealed = f"{type(value).__name__}[{len(value)}] sha256:{_sha(words.encode())}"
            self.parts[path] = _still(value) if short else sealed
        else:
            self._add_all(path, "", {f"[{i}]": item for i, item in enumerate(value)}, joint="")

    def _add_all(self, path: str, words: str, parts: dict[str, Any], joint: str = ".") -> None:
        if words or not parts:
            self.parts[path] = words or "empty"
        for name, part in parts.items():
            self.add(f"{path}{joint}{name}", part)


def _plain(value: Any) -> str:
    words = str(value) if isinstance(value, enum.Enum | np.dtype) else repr(value)
    return words if len(words) <= 4 * _LONG else f"text[{len(words)}] sha256:{_sha(words.encode())}"


def _array(value: Any) -> str:
    if eqx.is_array(value) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        value = jax.random.key_data(value)
    value = np.asarray(value)
    if value.ndim == 0 and value.dtype.kind in "fiub":
        wide = value.dtype in (jnp.result_type(float), jnp.result_type(int), np.dtype(bool))
        return str(value) if wide else f"{value} {value.dtype}"
    if value.dtype.kind == "O":
        data = repr(value.tolist()).encode()
    else:
        data = np.ascontiguousarray(value).reshape(-1).view(np.uint8) if value.size else b""
    return f"{value.dtype}{list(value.shape)} sha256:{_sha(data)}"


def _still(value: Any) -> str:
    """Its representation without addresses, which are other ones in every process."""
    return _ADDRESS.sub("0x", repr(value))


def _name(kind: Any) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _installed(kind: Any) -> bool:
    """Whether a class or function belongs to Python, to Jensen or to an installed package: versions tell its code."""
    module = getattr(kind, "__module__", None) or "builtins"
    top = module.partition(".")[0]
    if module == "__main__":
        return False
    if top in sys.stdlib_module_names or top in ("builtins", "jensen"):
        return True
    file = getattr(sys.modules.get(module), "__file__", None) or ""
    return "site-packages" in file or "dist-packages" in file


def _class(kind: type, within: frozenset[int]) -> str:
    """The name of a class; of one that no version tells, also a digest of the code of its methods."""
    if _installed(kind):
        return _name(kind)
    digest = hashlib.sha256()
    for base in kind.__mro__:
        if not _installed(base):
            for name, member in sorted(vars(base).items()):
                words = _member(name, member, within)
                digest.update(f"{name} {words}".encode() if words else b"")
    return f"{_name(kind)} code {digest.hexdigest()[:16]}"


def _member(name: str, member: Any, within: frozenset[int]) -> str:
    """Words on what a class holds under `name`, "" if it is neither a method nor a plain setting."""
    if isinstance(member, _PLAIN):
        return "" if name.startswith("__") else _plain(member)
    for wrapped in ("__func__", "fget", "func", "method"):  # static and class methods, properties, equinox's methods
        member = getattr(member, wrapped, None) or member
    member = inspect.unwrap(member) if callable(member) else member
    return _function(member, within) if isinstance(member, types.FunctionType) else ""


def _function(fn: types.FunctionType, within: frozenset[int]) -> str:
    """The name of a function; of one that no version tells, also a digest of its code and of what it closes over."""
    if _installed(fn) and fn.__closure__ is None:
        return _name(fn)
    digest = hashlib.sha256()
    digest.update(repr(_code(fn.__code__)).encode())
    bound = {f"default {i}": value for i, value in enumerate(fn.__defaults__ or ())} | dict(fn.__kwdefaults__ or {})
    for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True):
        try:
            bound[f"closure {name}"] = _steady(cell.cell_contents)
        except ValueError:  # an empty cell
            continue
    if not _installed(fn):
        used = {name: fn.__globals__[name] for name in _names(fn.__code__) if name in fn.__globals__}
        bound |= {f"global {name}": _steady(value) for name, value in used.items()}
    for name, value in sorted(bound.items()):
        inner = _Walk(within | {id(fn)})
        inner.add(name, value)
        digest.update(repr(inner.parts).encode())
    return f"{_name(fn)} code {digest.hexdigest()[:16]}"


def _steady(value: Any) -> Any:
    """`value`, but of containers that a program may fill as it goes (counts, caches) only arrays and functions."""
    if isinstance(value, types.ModuleType):
        return value.__name__
    if isinstance(value, dict):
        return {key: _steady(item) for key, item in value.items() if not isinstance(item, _PLAIN)}
    if isinstance(value, list):
        return [_steady(item) for item in value if not isinstance(item, _PLAIN)]
    return type(value) if isinstance(value, set) else value


def _names(code: types.CodeType) -> set[str]:
    inner = [c for c in code.co_consts if isinstance(c, types.CodeType)]
    return set(code.co_names).union(*map(_names, inner))


def _code(code: types.CodeType) -> tuple[Any, ...]:
    """What a function does: its instructions, names and constants; neither its file nor its lines."""
    constants = [_code(c) if isinstance(c, types.CodeType) else _constant(c) for c in code.co_consts]
    return (code.co_code, code.co_names, code.co_varnames, code.co_freevars, constants)


def _constant(value: Any) -> str:
    return repr(sorted(map(repr, value))) if isinstance(value, frozenset) else repr(value)
