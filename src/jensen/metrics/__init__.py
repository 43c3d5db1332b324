"""Metrics against a known truth: moments, MMD, a classifier's accuracy, coverage, simulation-based calibration."""

from jensen.metrics.black_box_scores import log_score, log_score_by_series, quadratic_score
from jensen.metrics.c2st import c2st
from jensen.metrics.calibration import coverage, sbc_ranks, uniformity
from jensen.metrics.frechet import frechet
from jensen.metrics.mmd import mmd
from jensen.metrics.moments import Comparison, compare_to_reference
from jensen.metrics.ranking import ndcg_at, recall_at
from jensen.metrics.symmetry import symmetry

__all__ = [
    "Comparison",
    "c2st",
    "compare_to_reference",
    "coverage",
    "frechet",
    "log_score",
    "log_score_by_series",
    "mmd",
    "ndcg_at",
    "quadratic_score",
    "recall_at",
    "sbc_ranks",
    "symmetry",
    "uniformity",
]
