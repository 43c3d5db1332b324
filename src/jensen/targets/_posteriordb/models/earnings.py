"""Earnings and height: five regressions with flat priors. Gelman and Hill (2007), ch. 4."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.targets._posteriordb.models._common import regress

Column = Float[Array, " n"]


def earn_height(earn: Column, height: Column) -> None:
    """earn ~ N(beta_1 + beta_2 height, sigma^2)."""
    regress("earn", earn, height)


def log10earn_height(earn: Column, height: Column) -> None:
    """log10 earn ~ N(beta_1 + beta_2 height, sigma^2)."""
    regress("log10_earn", jnp.log10(earn), height)


def logearn_height(earn: Column, height: Column) -> None:
    """log earn ~ N(beta_1 + beta_2 height, sigma^2)."""
    regress("log_earn", jnp.log(earn), height)


def logearn_height_male(earn: Column, height: Column, male: Column) -> None:
    """log earn ~ N(beta_1 + beta_2 height + beta_3 male, sigma^2)."""
    regress("log_earn", jnp.log(earn), height, male)


def logearn_interaction(earn: Column, height: Column, male: Column) -> None:
    """log earn ~ N(beta_1 + beta_2 height + beta_3 male + beta_4 height male, sigma^2)."""
    regress("log_earn", jnp.log(earn), height, male, height * male)
