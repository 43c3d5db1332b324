"""Algorithms made of algorithms: one file each."""

from jensen.algorithms.wrappers.averaged import Averaged
from jensen.algorithms.wrappers.best_so_far import BestSoFar
from jensen.algorithms.wrappers.restarts import Restarts
from jensen.algorithms.wrappers.then import Then

__all__ = ["Averaged", "BestSoFar", "Restarts", "Then"]
