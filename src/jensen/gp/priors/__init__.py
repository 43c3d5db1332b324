"""Gaussian-process priors under sites: how the covariance is held."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jensen.gp.priors._white import zero_mean
    from jensen.gp.priors.decoupled import Joined, OrthogonallyDecoupled
    from jensen.gp.priors.dense import Dense
    from jensen.gp.priors.fourier import FourierFeatures
    from jensen.gp.priors.grid import Grid, GridPosterior
    from jensen.gp.priors.inducing import Features, Inducing, Points
    from jensen.gp.priors.mixed import Mixed
    from jensen.gp.priors.spherical import SphericalHarmonics, SphericalUnits
    from jensen.gp.priors.state_space import StateSpace
    from jensen.gp.priors.vecchia import (
        SparsePosterior,
        Vecchia,
        nearest_neighbours,
        neighbours_from,
        neighbours_within,
    )

# a file is imported when its name is first used
_MODULES = {
    "Dense": "dense",
    "Features": "inducing",
    "FourierFeatures": "fourier",
    "Grid": "grid",
    "GridPosterior": "grid",
    "Inducing": "inducing",
    "Joined": "decoupled",
    "Mixed": "mixed",
    "OrthogonallyDecoupled": "decoupled",
    "Points": "inducing",
    "SparsePosterior": "vecchia",
    "SphericalHarmonics": "spherical",
    "SphericalUnits": "spherical",
    "StateSpace": "state_space",
    "Vecchia": "vecchia",
    "nearest_neighbours": "vecchia",
    "neighbours_from": "vecchia",
    "neighbours_within": "vecchia",
    "zero_mean": "_white",
}

__all__ = [
    "Dense",
    "Features",
    "FourierFeatures",
    "Grid",
    "GridPosterior",
    "Inducing",
    "Joined",
    "Mixed",
    "OrthogonallyDecoupled",
    "Points",
    "SparsePosterior",
    "SphericalHarmonics",
    "SphericalUnits",
    "StateSpace",
    "Vecchia",
    "nearest_neighbours",
    "neighbours_from",
    "neighbours_within",
    "zero_mean",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
