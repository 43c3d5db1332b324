"""Biomass of mesquite bushes: four regressions with flat priors. Gelman and Hill (2007), ch. 4."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.targets._posteriordb.models._common import regress

Column = Float[Array, " n"]


def mesquite(
    weight: Column,
    diam1: Column,
    diam2: Column,
    canopy_height: Column,
    total_height: Column,
    density: Column,
    group: Column,
) -> None:
    """weight ~ N(beta . (1, diam1, diam2, canopy_height, total_height, density, group), sigma^2)."""
    regress("weight", weight, diam1, diam2, canopy_height, total_height, density, group)


def logmesquite_logvolume(weight: Column, diam1: Column, diam2: Column, canopy_height: Column) -> None:
    """log weight ~ N(beta_1 + beta_2 log volume, sigma^2), volume = diam1 diam2 canopy_height."""
    regress("log_weight", jnp.log(weight), jnp.log(diam1 * diam2 * canopy_height))


def logmesquite_logvash(
    weight: Column, diam1: Column, diam2: Column, canopy_height: Column, total_height: Column, group: Column
) -> None:
    """log weight ~ N(beta . (1, log volume, log area, log shape, log height, group), sigma^2).

    area = diam1 diam2, shape = diam1 / diam2, volume = area canopy_height.
    """
    regress("log_weight", jnp.log(weight), *_size(diam1, diam2, canopy_height), jnp.log(total_height), group)


def logmesquite_logvas(
    weight: Column,
    diam1: Column,
    diam2: Column,
    canopy_height: Column,
    total_height: Column,
    density: Column,
    group: Column,
) -> None:
    """log weight ~ N(beta . (1, log volume, log area, log shape, log height, log density, group), sigma^2)."""
    size = _size(diam1, diam2, canopy_height)
    regress("log_weight", jnp.log(weight), *size, jnp.log(total_height), jnp.log(density), group)


def _size(diam1: Column, diam2: Column, canopy_height: Column) -> tuple[Column, Column, Column]:
    """Logs of volume, area and shape."""
    return jnp.log(diam1 * diam2 * canopy_height), jnp.log(diam1 * diam2), jnp.log(diam1 / diam2)
