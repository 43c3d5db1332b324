"""Gradient estimators: how an expectation under q is differentiated."""

from jensen.gradient_estimators.reparameterised import Reparameterisation
from jensen.gradient_estimators.sticking_the_landing import StickingTheLanding

__all__ = ["Reparameterisation", "StickingTheLanding"]
