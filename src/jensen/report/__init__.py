"""The report of a fit: one HTML file that needs nothing else, verdict first."""

from jensen.report._html import render_report, write_report
from jensen.report._summary import Row, summarise

__all__ = ["Row", "render_report", "summarise", "write_report"]
