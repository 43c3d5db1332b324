"""Real data by name, and tables from files."""

from jensen.datasets._load import describe, load, names
from jensen.datasets._places import DatasetError
from jensen.datasets._tables import read_table
from jensen.datasets.sources import RowSource, generate_rows, join_rows, open_rows

__all__ = [
    "DatasetError",
    "RowSource",
    "describe",
    "generate_rows",
    "join_rows",
    "load",
    "names",
    "open_rows",
    "read_table",
]
