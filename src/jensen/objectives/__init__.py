"""Objectives: what is made small over q, each with the bound on the evidence that it is, declared."""

from jensen.objectives.importance_weighted import ImportanceWeighted
from jensen.objectives.negative_elbo import NegativeElbo

__all__ = ["ImportanceWeighted", "NegativeElbo"]
