"""Algorithms: what moves a state towards a posterior. One file each; a file is imported when its name is first used."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jensen.algorithms.batch_match import BatchMatch
    from jensen.algorithms.laplace import Laplace

_MODULES = {
    "BatchMatch": "batch_match",
    "Laplace": "laplace",
}

__all__ = ["BatchMatch", "Laplace"]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
