"""Objectives: what is made small over q, each with the bound on the evidence that it is, declared."""

from jensen.objectives import generators
from jensen.objectives.chi2 import ChiDivergence, Cubo
from jensen.objectives.data_emphasised import DataEmphasisedElbo
from jensen.objectives.f_divergence import FDivergence
from jensen.objectives.forward_kl import ForwardChi, ForwardKL
from jensen.objectives.generators import Generator
from jensen.objectives.importance_weighted import ImportanceWeighted
from jensen.objectives.linearised_elbo import LinearisedElbo, SingularValueElbo
from jensen.objectives.loss_calibrated import LossCalibrated, bayes_action
from jensen.objectives.maximum_likelihood import MaximumLikelihood, PathMaximumLikelihood
from jensen.objectives.negative_elbo import NegativeElbo
from jensen.objectives.renyi import Renyi
from jensen.objectives.tempered_elbo import TemperedElbo
from jensen.objectives.thermodynamic import ThermodynamicObjective

__all__ = [
    "ChiDivergence",
    "Cubo",
    "DataEmphasisedElbo",
    "FDivergence",
    "ForwardChi",
    "ForwardKL",
    "Generator",
    "ImportanceWeighted",
    "LinearisedElbo",
    "LossCalibrated",
    "MaximumLikelihood",
    "NegativeElbo",
    "PathMaximumLikelihood",
    "Renyi",
    "SingularValueElbo",
    "TemperedElbo",
    "ThermodynamicObjective",
    "bayes_action",
    "generators",
]
