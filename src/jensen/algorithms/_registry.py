"""Algorithms by name, for the command and for tables."""

import inspect
from typing import Any

from jensen.core import Algorithm, InputError, UnknownName


def by_name() -> dict[str, type[Algorithm]]:
    """Every public algorithm class, in the order of `jensen.algorithms.__all__`."""
    from jensen import algorithms

    public = {name: getattr(algorithms, name) for name in algorithms.__all__}
    return {
        name: member
        for name, member in public.items()
        if isinstance(member, type) and issubclass(member, Algorithm) and not inspect.isabstract(member)
    }


def algorithm_named(name: str) -> Algorithm:
    """The algorithm `name` with its default settings; case, dashes and underscores do not matter.

    Raises `UnknownName`, which suggests the nearest, and `InputError` for a wrapper, which needs another algorithm.
    """
    known = by_name()
    found = {_plain(n): n for n in known}.get(_plain(name))
    if found is None:
        raise UnknownName("method", name, (*known, "auto"))
    try:
        make: Any = known[found]
        return make()
    except TypeError as error:
        raise InputError(f"{found} cannot be made without settings ({error}): use it from Python") from error


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")
