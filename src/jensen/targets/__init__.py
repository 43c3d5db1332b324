"""Targets p: what posteriors are made from."""

import importlib
from typing import TYPE_CHECKING, Any

from jensen.targets._hidden_markov import HiddenMarkovTarget, from_hidden_markov
from jensen.targets._log_density import LogDensityTarget, from_log_density
from jensen.targets._numpyro import NumPyroTarget, from_numpyro
from jensen.targets._rows import RowsTarget, from_rows
from jensen.targets._simulators import FunctionSimulator, Simulator, from_simulator

if TYPE_CHECKING:
    from jensen.targets._formula import from_formula
    from jensen.targets._numpyro_simulator import NumPyroSimulator, simulator_from_numpyro
    from jensen.targets._one_hot import OneHotCategorical
    from jensen.targets._posteriordb import posteriordb, posteriordb_names
    from jensen.targets._sbibm import sbibm, sbibm_names
    from jensen.targets.streaming import Streamed
    from jensen.targets.wrappers import (
        Conditioned,
        Enumerated,
        JointRows,
        Minibatched,
        Relaxed,
        Shuffled,
        Tempered,
        Transformed,
    )

# what needs more than a log density is imported when it is first named
_LAZY = {
    "Conditioned": "wrappers",
    "Enumerated": "wrappers",
    "JointRows": "wrappers",
    "Minibatched": "wrappers",
    "NumPyroSimulator": "_numpyro_simulator",
    "OneHotCategorical": "_one_hot",
    "Relaxed": "wrappers",
    "Shuffled": "wrappers",
    "Streamed": "streaming",
    "Tempered": "wrappers",
    "Transformed": "wrappers",
    "from_formula": "_formula",
    "posteriordb": "_posteriordb",
    "posteriordb_names": "_posteriordb",
    "sbibm": "_sbibm",
    "sbibm_names": "_sbibm",
    "simulator_from_numpyro": "_numpyro_simulator",
}

__all__ = [
    "Conditioned",
    "Enumerated",
    "FunctionSimulator",
    "HiddenMarkovTarget",
    "JointRows",
    "LogDensityTarget",
    "Minibatched",
    "NumPyroSimulator",
    "NumPyroTarget",
    "OneHotCategorical",
    "Relaxed",
    "RowsTarget",
    "Shuffled",
    "Simulator",
    "Streamed",
    "Tempered",
    "Transformed",
    "from_formula",
    "from_hidden_markov",
    "from_log_density",
    "from_numpyro",
    "from_rows",
    "from_simulator",
    "posteriordb",
    "posteriordb_names",
    "sbibm",
    "sbibm_names",
    "simulator_from_numpyro",
]


def __getattr__(name: str) -> Any:
    if name == "synthetic":
        return importlib.import_module("jensen.targets.synthetic")
    if name in _LAZY:
        return getattr(importlib.import_module(f"jensen.targets.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
