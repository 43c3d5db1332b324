"""Algorithms: what moves a state towards a posterior. One file each; a file is imported when its name is first used."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jensen.algorithms.amortised_vi import AmortisedVI
    from jensen.algorithms.assumed_density import ADF, SequentialEP
    from jensen.algorithms.batch_match import BatchMatch
    from jensen.algorithms.bures_wasserstein import BuresWassersteinGradient
    from jensen.algorithms.cvi import CVI
    from jensen.algorithms.derivatives import GradientDraws, HessianDraws
    from jensen.algorithms.expectation_propagation import EP
    from jensen.algorithms.fixed_sample import FixedSampleVI
    from jensen.algorithms.forward_backward import ForwardBackward
    from jensen.algorithms.gradient_vi import GradientVI
    from jensen.algorithms.ivon import IVON
    from jensen.algorithms.laplace import Laplace
    from jensen.algorithms.laplace_mixture import LaplaceMixture
    from jensen.algorithms.mode import Mode
    from jensen.algorithms.natural_gradient import NaturalGradientVI
    from jensen.algorithms.nuts import NUTS, Dense, Diagonal
    from jensen.algorithms.pathfinder import MultiPathfinder, Pathfinder
    from jensen.algorithms.sghmc import SGHMC
    from jensen.algorithms.site_laplace import SiteLaplace
    from jensen.algorithms.smc import TemperedSMC
    from jensen.algorithms.stochastic_cvi import StochasticCVI
    from jensen.algorithms.wrappers.averaged import Averaged
    from jensen.algorithms.wrappers.best_so_far import BestSoFar
    from jensen.algorithms.wrappers.early_stopping import EarlyStopping
    from jensen.algorithms.wrappers.refreshed import ClosedUpdate, Refreshed
    from jensen.algorithms.wrappers.restarts import Restarts
    from jensen.algorithms.wrappers.then import Then

_MODULES = {
    "ADF": "assumed_density",
    "AmortisedVI": "amortised_vi",
    "Averaged": "wrappers.averaged",
    "BatchMatch": "batch_match",
    "BestSoFar": "wrappers.best_so_far",
    "BuresWassersteinGradient": "bures_wasserstein",
    "CVI": "cvi",
    "ClosedUpdate": "wrappers.refreshed",
    "Dense": "nuts",
    "Diagonal": "nuts",
    "EP": "expectation_propagation",
    "EarlyStopping": "wrappers.early_stopping",
    "FixedSampleVI": "fixed_sample",
    "ForwardBackward": "forward_backward",
    "GradientDraws": "derivatives",
    "GradientVI": "gradient_vi",
    "HessianDraws": "derivatives",
    "IVON": "ivon",
    "Laplace": "laplace",
    "LaplaceMixture": "laplace_mixture",
    "Mode": "mode",
    "MultiPathfinder": "pathfinder",
    "NUTS": "nuts",
    "NaturalGradientVI": "natural_gradient",
    "Pathfinder": "pathfinder",
    "Refreshed": "wrappers.refreshed",
    "Restarts": "wrappers.restarts",
    "SGHMC": "sghmc",
    "SequentialEP": "assumed_density",
    "SiteLaplace": "site_laplace",
    "StochasticCVI": "stochastic_cvi",
    "TemperedSMC": "smc",
    "Then": "wrappers.then",
}

__all__ = [
    "ADF",
    "CVI",
    "EP",
    "IVON",
    "NUTS",
    "SGHMC",
    "AmortisedVI",
    "Averaged",
    "BatchMatch",
    "BestSoFar",
    "BuresWassersteinGradient",
    "ClosedUpdate",
    "Dense",
    "Diagonal",
    "EarlyStopping",
    "FixedSampleVI",
    "ForwardBackward",
    "GradientDraws",
    "GradientVI",
    "HessianDraws",
    "Laplace",
    "LaplaceMixture",
    "Mode",
    "MultiPathfinder",
    "NaturalGradientVI",
    "Pathfinder",
    "Refreshed",
    "Restarts",
    "SequentialEP",
    "SiteLaplace",
    "StochasticCVI",
    "TemperedSMC",
    "Then",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
