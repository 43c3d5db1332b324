"""Papers that Jensen answers to: their claims, measured with the library's public parts."""

from jensen_papers.registry import Paper, find, papers, reproduce, rows
from jensen_papers.result import Claim, Result

__all__ = ["Claim", "Paper", "Result", "find", "papers", "reproduce", "rows"]
