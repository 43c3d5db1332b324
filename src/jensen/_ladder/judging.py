"""Judging what a rung came to."""

import dataclasses
import math
import time
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from jensen._ladder.state import Attempt
from jensen._run import Outcome
from jensen.certificate import Modes, certify, certify_weights, weigh
from jensen.certificate.weights import weigh_more
from jensen.core import Certificate, DensityPosterior, DrawsPosterior, PRNGKey, Target, WeightedPosterior, stream
from jensen.core.random import CERTIFY

GOOD_KHAT = 0.5  # below it a density's own draws will do; up to 0.7 they are resampled by their weights
FEWEST_WEIGHTED = 2000.0  # effective draws of a resampled posterior: quantile widths within about 4 %
MORE_BATCHES = 4  # of draws, at most, to have that many


def pooled(outcomes: Sequence[Outcome]) -> Outcome:
    """Runs of one algorithm as one, their draws as chains side by side."""
    first = outcomes[0]
    if len(outcomes) == 1:
        return first
    posteriors = [o.posterior for o in outcomes if isinstance(o.posterior, DrawsPosterior)]
    chains = np.concatenate([np.asarray(p.chains) for p in posteriors])
    seconds = sum(o.run.seconds for o in outcomes)
    notes = (*first.run.notes, f"{len(outcomes)} runs with keys of their own, pooled")
    posterior = DrawsPosterior(first.posterior.space, jnp.asarray(chains), None, posteriors[0].independent)
    run = dataclasses.replace(first.run, seconds=seconds, notes=notes)
    return dataclasses.replace(first, posterior=posterior, run=run)


def judge(outcome: Outcome, target: Target, key: PRNGKey, modes: Modes | None) -> Attempt:
    """Certify an outcome; a density that needs it and whose weights allow it is resampled by them."""
    posterior = outcome.posterior
    key = stream(key, CERTIFY)
    began = time.perf_counter()
    if isinstance(posterior, DensityPosterior):
        weights = weigh(key, posterior.q, target)
        certificate = certify_weights(posterior, weights, posterior.q, modes)
        khat = weights.khat
        if khat < 0.7 and not (certificate.passed and khat < GOOD_KHAT):
            if weights.ess < FEWEST_WEIGHTED:
                weights = weigh_more(stream(key, CERTIFY), posterior.q, target, weights, _batches(weights.ess))
            resampled = WeightedPosterior(
                posterior.space, jnp.asarray(weights.z), jnp.asarray(weights.log_weights), posterior.q
            )
            reweighted = certify_weights(resampled, weights, posterior.q, modes)
            if reweighted.passed or not certificate.passed:
                posterior, certificate = resampled, reweighted
    else:
        certificate = certify(posterior, target, key, modes=modes)
    verdict = (
        "certified"
        if certificate.passed
        else "not certified: " + ", ".join(c.name for c in certificate.checks if c.holds is False)
    )
    seconds = outcome.run.seconds + time.perf_counter() - began
    run = dataclasses.replace(outcome.run, verdict=verdict, certificate=certificate, seconds=seconds)
    return Attempt(posterior, certificate, run)


def _batches(ess: float) -> int:
    """How many more batches of draws are likely to give `FEWEST_WEIGHTED`, with half as many again to spare."""
    wanted = 1.5 * FEWEST_WEIGHTED / max(ess, 1.0)
    return min(max(math.ceil(wanted) - 1, 1), MORE_BATCHES)


def unjudged(outcome: Outcome) -> Attempt:
    """An outcome that there was no time to judge: without checks it counts as the worst."""
    run = dataclasses.replace(outcome.run, verdict="not judged")
    return Attempt(outcome.posterior, Certificate(()), run)


def with_bound(certificate: Certificate, tried: Sequence[Attempt]) -> Certificate:
    """The certificate with the last lower bound on the evidence that any rung measured."""
    if certificate.evidence_lower is not None:
        return certificate
    bounds = [a.certificate for a in tried if a.certificate.evidence_lower is not None]
    if not bounds:
        return certificate
    last = bounds[-1]
    return dataclasses.replace(
        certificate, evidence_lower=last.evidence_lower, elbo=last.elbo, elbo_standard_error=last.elbo_standard_error
    )
