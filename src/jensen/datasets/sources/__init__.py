"""Rows on disk or made as they are read, block by block: what `targets.Streamed` draws from."""

from jensen.datasets.sources._base import Column, RowSource
from jensen.datasets.sources._composed import generate_rows, join_rows
from jensen.datasets.sources._folder import open_rows

__all__ = ["Column", "RowSource", "generate_rows", "join_rows", "open_rows"]
