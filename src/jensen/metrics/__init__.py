"""Metrics against a known truth: moments, MMD, a classifier's accuracy, coverage, simulation-based calibration."""

from jensen.metrics.c2st import c2st
from jensen.metrics.calibration import coverage, sbc_ranks, uniformity
from jensen.metrics.mmd import mmd
from jensen.metrics.moments import Comparison, compare_to_reference

__all__ = ["Comparison", "c2st", "compare_to_reference", "coverage", "mmd", "sbc_ranks", "uniformity"]
