"""Families q: what posteriors are approximated by."""

from jensen.families._builders import Builder, FullRank, LowRank, MeanField
from jensen.families.augmented import Augmented
from jensen.families.bijective import Bijective, round_trip_errors
from jensen.families.fitting import fit_to_draws
from jensen.families.flow import Affine, Autoregressive, Coupling, Flow, FlowBuilder, Spline
from jensen.families.gaussian import DiagonalGaussian, Gaussian, gaussian_from_cov, kl_gaussian
from jensen.families.generator import DenseGenerator, Generator
from jensen.families.hierarchical import Hierarchical, HierarchicalBuilder
from jensen.families.implicit import Implicit, linearised_log_det, smallest_singular_log_det
from jensen.families.implicit_builders import HypernetworkBuilder, ImplicitBuilder
from jensen.families.low_rank import LowRankGaussian
from jensen.families.marginal_program import MarginalBuilder, MarginalProgram, marginal
from jensen.families.matrix_networks import MatrixNetworks
from jensen.families.mixflow import CheckedElbo, MixFlow, checked_elbo
from jensen.families.mixture import GaussianMixture, Mixture
from jensen.families.particles import Particles
from jensen.families.planar import Planar, PlanarFlow, Radial, RadialFlow
from jensen.families.program import ProgramBuilder, ProgramFamily, program
from jensen.families.pushforward import Pushforward
from jensen.families.scale_mixture import MultivariateStudentT, NormalScaleMixture
from jensen.families.site_gaussian import SiteGaussian
from jensen.families.sparsity import Elimination, eliminate, sparsity
from jensen.families.structured import Structured, StructuredGaussian
from jensen.families.student_t import HeavyTailed, StudentT
from jensen.families.white_gaussian import WhiteGaussian

__all__ = [
    "Affine",
    "Augmented",
    "Autoregressive",
    "Bijective",
    "Builder",
    "CheckedElbo",
    "Coupling",
    "DenseGenerator",
    "DiagonalGaussian",
    "Elimination",
    "Flow",
    "FlowBuilder",
    "FullRank",
    "Gaussian",
    "GaussianMixture",
    "Generator",
    "HeavyTailed",
    "Hierarchical",
    "HierarchicalBuilder",
    "HypernetworkBuilder",
    "Implicit",
    "ImplicitBuilder",
    "LowRank",
    "LowRankGaussian",
    "MarginalBuilder",
    "MarginalProgram",
    "MatrixNetworks",
    "MeanField",
    "MixFlow",
    "Mixture",
    "MultivariateStudentT",
    "NormalScaleMixture",
    "Particles",
    "Planar",
    "PlanarFlow",
    "ProgramBuilder",
    "ProgramFamily",
    "Pushforward",
    "Radial",
    "RadialFlow",
    "SiteGaussian",
    "Spline",
    "Structured",
    "StructuredGaussian",
    "StudentT",
    "WhiteGaussian",
    "checked_elbo",
    "eliminate",
    "fit_to_draws",
    "gaussian_from_cov",
    "kl_gaussian",
    "linearised_log_det",
    "marginal",
    "program",
    "round_trip_errors",
    "smallest_singular_log_det",
    "sparsity",
]
