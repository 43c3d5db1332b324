"""Gauss-Markov processes: kernels on the line as stochastic differential equations, and their filters."""

from jensen.gp.state_space._whittle import expected_periodogram, flat, hann, periodogram, posterior_draw, whittle
from jensen.gp.state_space.convert import state_space_form
from jensen.gp.state_space.filtering import Chain, Smoothed, smooth
from jensen.gp.state_space.matern import Matern
from jensen.gp.state_space.sde import SDE, Level, Oscillation, Product, Quasiseparable, Scaled, Sum

__all__ = [
    "SDE",
    "Chain",
    "Level",
    "Matern",
    "Oscillation",
    "Product",
    "Quasiseparable",
    "Scaled",
    "Smoothed",
    "Sum",
    "expected_periodogram",
    "flat",
    "hann",
    "periodogram",
    "posterior_draw",
    "smooth",
    "state_space_form",
    "whittle",
]
