"""Covariance functions: extensions of tinygp's, made from objects or from text."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jensen.gp.kernels.coregion import Coregion, with_tasks
    from jensen.gp.kernels.deep import DeepKernel, deep_kernel
    from jensen.gp.kernels.dot_product import Constant, Linear, Periodic
    from jensen.gp.kernels.hida_matern import HidaMatern
    from jensen.gp.kernels.pde import HeatKernel, WaveKernel
    from jensen.gp.kernels.polyharmonic import Polyharmonic
    from jensen.gp.kernels.spectral import SpectralMixture, StudentTMixture
    from jensen.gp.kernels.stationary import RBF, Matern12, Matern32, Matern52, RationalQuadratic, Stationary
    from jensen.gp.kernels.text import kernel
    from jensen.gp.kernels.zonal import ArcCosine, Chord, Zonal

# a file is imported when its name is first used
_MODULES = {
    "ArcCosine": "zonal",
    "Chord": "zonal",
    "Constant": "dot_product",
    "Coregion": "coregion",
    "DeepKernel": "deep",
    "HeatKernel": "pde",
    "HidaMatern": "hida_matern",
    "Linear": "dot_product",
    "Matern12": "stationary",
    "Matern32": "stationary",
    "Matern52": "stationary",
    "Periodic": "dot_product",
    "Polyharmonic": "polyharmonic",
    "RBF": "stationary",
    "RationalQuadratic": "stationary",
    "SpectralMixture": "spectral",
    "Stationary": "stationary",
    "StudentTMixture": "spectral",
    "WaveKernel": "pde",
    "Zonal": "zonal",
    "deep_kernel": "deep",
    "kernel": "text",
    "with_tasks": "coregion",
}

__all__ = [
    "RBF",
    "ArcCosine",
    "Chord",
    "Constant",
    "Coregion",
    "DeepKernel",
    "HeatKernel",
    "HidaMatern",
    "Linear",
    "Matern12",
    "Matern32",
    "Matern52",
    "Periodic",
    "Polyharmonic",
    "RationalQuadratic",
    "SpectralMixture",
    "Stationary",
    "StudentTMixture",
    "WaveKernel",
    "Zonal",
    "deep_kernel",
    "kernel",
    "with_tasks",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
