"""Figures: one file each, each function returns a `matplotlib.figure.Figure` and leaves no global state behind."""

from jensen.plots._style import to_png, to_svg
from jensen.plots.compare import comparison
from jensen.plots.cost import cost
from jensen.plots.forest import forest
from jensen.plots.pair import pair, worst_pair
from jensen.plots.predictive import predictive_check
from jensen.plots.process import process
from jensen.plots.trace import trace
from jensen.plots.weights import weights

__all__ = [
    "comparison",
    "cost",
    "forest",
    "pair",
    "predictive_check",
    "process",
    "to_png",
    "to_svg",
    "trace",
    "weights",
    "worst_pair",
]
