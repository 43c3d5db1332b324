"""Targets p: what posteriors are made from."""

from typing import TYPE_CHECKING, Any

from jensen.targets._log_density import LogDensityTarget, from_log_density
from jensen.targets._numpyro import NumPyroTarget, from_numpyro

__all__ = ["LogDensityTarget", "NumPyroTarget", "from_log_density", "from_numpyro"]
