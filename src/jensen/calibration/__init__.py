"""Calibration over simulated data sets: does a method, not only one of its results, tell the truth?"""

from jensen.calibration.sbc import Calibration, sbc

__all__ = ["Calibration", "sbc"]
