"""Certificates: one file a check, and `certify`."""

from jensen.certificate.certify import certify, certify_weights
from jensen.certificate.chains import chain_checks
from jensen.certificate.modes import Modes, modes_of, search
from jensen.certificate.weights import Weights, weigh, weight_checks

__all__ = [
    "Modes",
    "Weights",
    "certify",
    "certify_weights",
    "chain_checks",
    "modes_of",
    "search",
    "weigh",
    "weight_checks",
]
