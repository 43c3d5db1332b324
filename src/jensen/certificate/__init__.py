"""Certificates: one file a check, and `certify`."""

from jensen.certificate.certify import certify, certify_weights
from jensen.certificate.chains import chain_checks
from jensen.certificate.evidence import EvidenceEstimate, evidence_from_draws
from jensen.certificate.modes import Modes, modes_of, search
from jensen.certificate.tails import Tails, hill, local_stretch, tails_of, tails_of_draws
from jensen.certificate.weights import Weights, prepare_weights, weigh, weight_checks

__all__ = [
    "EvidenceEstimate",
    "Modes",
    "Tails",
    "Weights",
    "certify",
    "certify_weights",
    "chain_checks",
    "evidence_from_draws",
    "hill",
    "local_stretch",
    "modes_of",
    "prepare_weights",
    "search",
    "tails_of",
    "tails_of_draws",
    "weigh",
    "weight_checks",
]
