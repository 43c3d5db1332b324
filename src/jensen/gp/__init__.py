"""Gaussian processes: a prior, a likelihood, and sites between them.

`GPRegressor` and `GPClassifier` are scikit-learn estimators. Behind them: `LatentModel(prior, likelihood, y)` with
priors of `gp.priors`, likelihoods of `gp.likelihoods`, kernels of `gp.kernels`, for the algorithms `CVI`, `EP`,
`SequentialEP`, `ADF`, `SiteLaplace` and every other method; `EvidenceTarget` for hyperparameters.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jensen.gp import infinite_width, kernels, likelihoods, priors, state_space
    from jensen.gp._effective_dimension import effective_dimension, ridge_leverage_scores
    from jensen.gp._site_evidence import fixed_point, site_evidence
    from jensen.gp._weight_space import WeightSpace, weight_space
    from jensen.gp.classifier import GPClassifier
    from jensen.gp.contraction import TensorRegression, tensor_regression
    from jensen.gp.coreset import TemperedCoreset, coreset_of
    from jensen.gp.cox import SquareRootCox
    from jensen.gp.deep_kernel_machine import DeepKernelMachine, SparseDeepKernelMachine
    from jensen.gp.dynamics import CollapsedGPDynamics, GPDynamics
    from jensen.gp.evidence import SpectralEvidence, leave_one_out, predictive_loss, spectral_evidence
    from jensen.gp.evidence_target import EvidenceTarget
    from jensen.gp.exact import Collapsed, Exact
    from jensen.gp.grid_equation import GridEquation, GridSolution
    from jensen.gp.hyperparameters import Hyperparameters
    from jensen.gp.kalman import Kalman
    from jensen.gp.kriging import IntrinsicKriging, intrinsic_kriging, restricted_evidence
    from jensen.gp.kronecker import Kronecker, KroneckerRegression, kronecker_prior, kronecker_regression
    from jensen.gp.latent import LatentModel
    from jensen.gp.multi_task_clusters import (
        Clustering,
        CurveClusters,
        CurvePrediction,
        Curves,
        MeanProcesses,
        cluster_curves,
        curve_bound,
        pool_curves,
        predict_curve,
    )
    from jensen.gp.online_newton import KernelOnlineNewton, OnlineRun, best_in_hindsight, squared_loss
    from jensen.gp.pde_solutions import (
        Heat,
        LinearPDE,
        SolutionKernel,
        SolutionModel,
        SolutionRegression,
        Wave,
        solution_features,
        solution_model,
    )
    from jensen.gp.regressor import GPRegressor
    from jensen.gp.streaming import StreamingGP, streaming_gp
    from jensen.gp.student_t_process import ScaleMixtureProcess, StudentTProcess
    from jensen.gp.transformed import TransformedGP, transformed_gp
    from jensen.gp.vecchia import VecchiaRegression

# a file is imported when its name is first used; None: the module itself
_MODULES: dict[str, str | None] = {
    "Clustering": "multi_task_clusters",
    "Collapsed": "exact",
    "CollapsedGPDynamics": "dynamics",
    "CurveClusters": "multi_task_clusters",
    "CurvePrediction": "multi_task_clusters",
    "Curves": "multi_task_clusters",
    "DeepKernelMachine": "deep_kernel_machine",
    "EvidenceTarget": "evidence_target",
    "Exact": "exact",
    "GPClassifier": "classifier",
    "GPDynamics": "dynamics",
    "GPRegressor": "regressor",
    "GridEquation": "grid_equation",
    "GridSolution": "grid_equation",
    "Heat": "pde_solutions",
    "Hyperparameters": "hyperparameters",
    "IntrinsicKriging": "kriging",
    "Kalman": "kalman",
    "KernelOnlineNewton": "online_newton",
    "Kronecker": "kronecker",
    "KroneckerRegression": "kronecker",
    "LatentModel": "latent",
    "LinearPDE": "pde_solutions",
    "MeanProcesses": "multi_task_clusters",
    "OnlineRun": "online_newton",
    "ScaleMixtureProcess": "student_t_process",
    "SolutionKernel": "pde_solutions",
    "SolutionModel": "pde_solutions",
    "SolutionRegression": "pde_solutions",
    "SparseDeepKernelMachine": "deep_kernel_machine",
    "SpectralEvidence": "evidence",
    "SquareRootCox": "cox",
    "StreamingGP": "streaming",
    "StudentTProcess": "student_t_process",
    "TemperedCoreset": "coreset",
    "TensorRegression": "contraction",
    "TransformedGP": "transformed",
    "VecchiaRegression": "vecchia",
    "Wave": "pde_solutions",
    "WeightSpace": "_weight_space",
    "best_in_hindsight": "online_newton",
    "cluster_curves": "multi_task_clusters",
    "coreset_of": "coreset",
    "curve_bound": "multi_task_clusters",
    "effective_dimension": "_effective_dimension",
    "fixed_point": "_site_evidence",
    "infinite_width": None,
    "intrinsic_kriging": "kriging",
    "kernels": None,
    "kronecker_prior": "kronecker",
    "kronecker_regression": "kronecker",
    "leave_one_out": "evidence",
    "likelihoods": None,
    "pool_curves": "multi_task_clusters",
    "predict_curve": "multi_task_clusters",
    "predictive_loss": "evidence",
    "priors": None,
    "restricted_evidence": "kriging",
    "ridge_leverage_scores": "_effective_dimension",
    "site_evidence": "_site_evidence",
    "solution_features": "pde_solutions",
    "solution_model": "pde_solutions",
    "spectral_evidence": "evidence",
    "squared_loss": "online_newton",
    "state_space": None,
    "streaming_gp": "streaming",
    "tensor_regression": "contraction",
    "transformed_gp": "transformed",
    "weight_space": "_weight_space",
}

__all__ = [
    "Clustering",
    "Collapsed",
    "CollapsedGPDynamics",
    "CurveClusters",
    "CurvePrediction",
    "Curves",
    "DeepKernelMachine",
    "EvidenceTarget",
    "Exact",
    "GPClassifier",
    "GPDynamics",
    "GPRegressor",
    "GridEquation",
    "GridSolution",
    "Heat",
    "Hyperparameters",
    "IntrinsicKriging",
    "Kalman",
    "KernelOnlineNewton",
    "Kronecker",
    "KroneckerRegression",
    "LatentModel",
    "LinearPDE",
    "MeanProcesses",
    "OnlineRun",
    "ScaleMixtureProcess",
    "SolutionKernel",
    "SolutionModel",
    "SolutionRegression",
    "SparseDeepKernelMachine",
    "SpectralEvidence",
    "SquareRootCox",
    "StreamingGP",
    "StudentTProcess",
    "TemperedCoreset",
    "TensorRegression",
    "TransformedGP",
    "VecchiaRegression",
    "Wave",
    "WeightSpace",
    "best_in_hindsight",
    "cluster_curves",
    "coreset_of",
    "curve_bound",
    "effective_dimension",
    "fixed_point",
    "infinite_width",
    "intrinsic_kriging",
    "kernels",
    "kronecker_prior",
    "kronecker_regression",
    "leave_one_out",
    "likelihoods",
    "pool_curves",
    "predict_curve",
    "predictive_loss",
    "priors",
    "restricted_evidence",
    "ridge_leverage_scores",
    "site_evidence",
    "solution_features",
    "solution_model",
    "spectral_evidence",
    "squared_loss",
    "state_space",
    "streaming_gp",
    "tensor_regression",
    "transformed_gp",
    "weight_space",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    place = _MODULES[name]
    if place is None:
        return importlib.import_module(f"{__name__}.{name}")
    return getattr(importlib.import_module(f"{__name__}.{place}"), name)
