"""Targets whose rows are read while they are fitted."""

from jensen.targets.streaming._all_rows import AllRows
from jensen.targets.streaming.streamed import FedRows, Streamed

__all__ = ["AllRows", "FedRows", "Streamed"]
