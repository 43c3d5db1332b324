"""Targets p: what posteriors are made from."""

import importlib
from typing import TYPE_CHECKING, Any

from jensen.targets._log_density import LogDensityTarget, from_log_density
from jensen.targets._numpyro import NumPyroTarget, from_numpyro
from jensen.targets._rows import RowsTarget, from_rows

if TYPE_CHECKING:
    from jensen.targets._formula import from_formula
    from jensen.targets._posteriordb import posteriordb
    from jensen.targets.wrappers import Conditioned, Minibatched, Tempered, Transformed

# what needs more than a log density is imported when it is first named
_LAZY = {
    "Conditioned": "wrappers",
    "Minibatched": "wrappers",
    "Tempered": "wrappers",
    "Transformed": "wrappers",
    "from_formula": "_formula",
    "posteriordb": "_posteriordb",
}

__all__ = [
    "Conditioned",
    "LogDensityTarget",
    "Minibatched",
    "NumPyroTarget",
    "RowsTarget",
    "Tempered",
    "Transformed",
    "from_formula",
    "from_log_density",
    "from_numpyro",
    "from_rows",
    "posteriordb",
]


def __getattr__(name: str) -> Any:
    if name == "synthetic":
        return importlib.import_module("jensen.targets.synthetic")
    if name in _LAZY:
        return getattr(importlib.import_module(f"jensen.targets.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
