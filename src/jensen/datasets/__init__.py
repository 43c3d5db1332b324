"""Real data by name, and tables from files."""

from jensen.datasets._load import describe, load, names
from jensen.datasets._places import DatasetError
from jensen.datasets._tables import read_table

__all__ = ["DatasetError", "describe", "load", "names", "read_table"]
