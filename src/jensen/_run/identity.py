"""What a resumed run must share with the one that was stopped, part by part, so that a difference can be named.

An identity is a dict of words: versions and code of Jensen, versions of what computes, precision and device, the key,
the number of steps, and every setting, array and function of the algorithm, the target, the plateau rule and the start.
What cannot change a result is no part of it: length of chunks, limits of time, progress.
"""

import functools
import hashlib
import platform
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jensen._run._describe import describe, digest_of

_PACKAGES = ("jax", "jaxlib", "numpy", "equinox", "optax", "numpyro", "flowjax", "blackjax")
_SHOWN = 4  # differences of a kind that are named; the rest are counted


def identity(algorithm: Any, target: Any, key: Any, **more: Any) -> dict[str, str]:
    """The parts of a run; `more`: further things under their names (steps, start, plateau)."""
    return {
        "Jensen": f"{_version('jensen')} (code {_code()})",
        "Python": ".".join(platform.python_version_tuple()[:2]),
        **{name: _version(name) for name in _PACKAGES},
        "precision": str(jnp.result_type(float)),
        "device": jax.default_backend(),
        "key": str(np.asarray(jax.random.key_data(key)).tolist()),
        **{name: words for name, value in more.items() for name, words in describe(value, name).items()},
        **describe(algorithm, "algorithm"),
        **describe(target, "target"),
    }


def data_digest(target: Any) -> str:
    """SHA-256 of the arrays and settings of a target, in hexadecimal digits."""
    return hashlib.sha256(repr(sorted(describe(target, "target").items())).encode()).hexdigest()


@functools.cache
def _version(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:  # a source tree that was never installed
        return "not installed"


@functools.cache
def _code() -> str:
    """A digest of the source of this package: a version number alone does not tell two states of it apart."""
    root = Path(__file__).parent.parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:8]


def differences(there: dict[str, str], here: dict[str, str]) -> list[str]:
    """In words, in which parts the identity `there`, of a checkpoint, and `here`, of this run, differ."""
    names = [name for name in (*there, *(n for n in here if n not in there)) if there.get(name) != here.get(name)]
    words = []
    if "Jensen" in names:
        words.append(f"Jensen {there.get('Jensen')} wrote it, this is {here['Jensen']}")
    if "Python" in names:  # its functions compile to other code: of these nothing can be said
        names = [name for name in names if not _is_code(there.get(name)) and not _is_code(here.get(name))]
    settings = [n for n in names if n != "Jensen" and not n.startswith("target")]
    words += _some([_setting(name, there.get(name), here.get(name)) for name in settings])
    owner = here.get("target", "the target").rpartition(".")[2].partition(" ")[0]
    data = [_datum(n, there.get(n), here.get(n), owner) for n in names if n.startswith("target")]
    return words + _some(data)


def _some(words: list[str]) -> list[str]:
    return words if len(words) <= _SHOWN else [*words[:_SHOWN], f"{len(words) - _SHOWN} more"]


def _is_code(words: str | None) -> bool:
    return words is not None and " code " in words


def _setting(name: str, there: str | None, here: str | None) -> str:
    short = name.removeprefix("algorithm.")
    function = (here or "").partition(" code ")[0]
    if _is_code(there) and _is_code(here) and (there or "").startswith(f"{function} code "):
        return f"the code of {function} ({short}) differs"
    return f"{short} {there or 'absent'} vs {here or 'absent'}"


def _datum(name: str, there: str | None, here: str | None, owner: str) -> str:
    leaf = name.removeprefix("target")
    if not leaf or _is_code(there) or _is_code(here):
        return _setting(name, there, here)
    if there is None or here is None:
        return f"the data differ: leaf {leaf} of {owner} is {there or 'absent'} vs {here or 'absent'}"
    old, new = digest_of(there), digest_of(here)
    if old is None or new is None:
        return f"the data differ: leaf {leaf} of {owner} is {there} vs {here}"
    shapes = "" if old == new else f" ({old} vs {new})"
    return f"the data differ: leaf {leaf} of {owner}{shapes}"
