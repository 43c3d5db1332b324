"""Wilkinson formulas with group effects as targets."""

from jensen.targets._formula._families import family_names
from jensen.targets._formula._priors import Prior, PriorTable
from jensen.targets._formula._target import FormulaTarget, from_formula

__all__ = ["FormulaTarget", "Prior", "PriorTable", "family_names", "from_formula"]
