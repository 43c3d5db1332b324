"""`certify`: every check that applies to a posterior."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.certificate.chains import batch, chain_checks
from jensen.certificate.modes import (
    MAX_DIMENSION,
    Modes,
    density_check,
    draws_check,
    evidence_check,
    gaussian_evidence,
    proper_check,
    search,
)
from jensen.certificate.weights import NUM_DRAWS, Weights, weigh, weight_checks
from jensen.core import (
    Certificate,
    Check,
    Compiled,
    DensityPosterior,
    DrawsPosterior,
    InputError,
    PointPosterior,
    Posterior,
    WeightedPosterior,
    check_key,
    in_batches,
    merge,
    stream,
)
from jensen.core.random import SEARCH
from jensen.core.stored import StoredPosterior


def certify(
    posterior: Posterior, target: Any, key: Any, *, modes: Modes | None = None, num_draws: int = NUM_DRAWS
) -> Certificate:
    """Certify a posterior against its target with draws that it has not seen.

    A density: Pareto k-hat and importance ESS of fresh draws, agreement of its moments with the reweighted ones, the
    ELBO and an importance-weighted lower bound on the log evidence (both bounds in expectation, reported with their
    error). Draws: R-hat, bulk and tail ESS, divergences. Both: modes found by climbing from other starting points (d <=
    200) must not lie where the posterior has no mass. A point: nothing can certify it, and the certificate says so.

    Nothing looks for values of discrete unknowns that an approximation has missed, so that one over them is never
    certified. No check sees a mode that neither draws nor climbs come near: `Certificate.blind_to` says so for each
    check that ran.

    Args:
        posterior: what is to be certified.
        target: the exact target that it approximates.
        key: a key that the inference has not used.
        modes: modes already found by climbs from dispersed starts; searched for with `key` where None.
        num_draws: fresh draws of a density, a multiple of 100.

    Raises:
        InputError: if posterior and target differ in dimension, or the key or number of draws is not usable.
    """
    check_key(key)
    if num_draws < 500 or num_draws % 100:
        raise InputError(f"num_draws must be a multiple of 100 and at least 500, got {num_draws}")
    d = target.space.dimension
    if posterior.space.dimension != d:
        raise InputError(
            f"The posterior has {posterior.space.dimension} unconstrained coordinates and the target {d}: certify "
            "against the target that the posterior was fitted to"
        )
    posterior = _as_fitted(posterior)
    if isinstance(posterior, PointPosterior):
        return Certificate((_point_check(),))
    if any(target.space.discrete):  # climbs go through R^d only
        return merge([_checked(posterior, target, key, None, num_draws), Certificate((_whole_numbers_check(),))])
    if modes is None and d <= MAX_DIMENSION:
        modes = search(stream(key, SEARCH), target)
    return _checked(posterior, target, key, modes, num_draws)


def _checked(posterior: Posterior, target: Any, key: Any, modes: Modes | None, num_draws: int) -> Certificate:
    if isinstance(posterior, DensityPosterior | WeightedPosterior):
        q = posterior.q if isinstance(posterior, DensityPosterior) else posterior.proposal
        if q is not None:
            return certify_weights(posterior, weigh(key, q, target, num_draws), q, modes)
    if isinstance(posterior, DrawsPosterior):
        parts = [chain_checks(posterior)]
        if modes is not None:
            z = batch(posterior.pooled)
            log_evidence = float(gaussian_evidence(z, _log_density(target, z)))
            checks = draws_check(modes, z, log_evidence), evidence_check(modes, log_evidence)
            parts.append(Certificate(checks))
            if posterior.independent:
                parts.append(Certificate((proper_check(modes),)))
        return merge(parts)
    return Certificate(())


def _as_fitted(posterior: Posterior) -> Posterior:
    """A posterior that was loaded without its model, as the density or the chains that it once was."""
    if not isinstance(posterior, StoredPosterior):
        return posterior
    if posterior.q is not None and posterior.origin != "WeightedPosterior":
        return DensityPosterior(posterior.space, posterior.q)
    chains = posterior.z.reshape(posterior.chains, -1, posterior.z.shape[1])
    diverging = None if posterior.diverging is None else posterior.diverging.reshape(chains.shape[:2])
    return DrawsPosterior(posterior.space, chains, diverging)


def certify_weights(posterior: Posterior, weights: Weights, q: Any, modes: Modes | None) -> Certificate:
    """The certificate of a density, or of draws reweighted from one, given the weights of fresh draws."""
    parts = [weight_checks(weights, isinstance(posterior, WeightedPosterior))]
    if modes is not None:
        evidence = weights.log_evidence
        parts.append(Certificate((density_check(modes, q, evidence), evidence_check(modes, evidence))))
    return merge(parts)


@Compiled
def _log_density(target: Any, z: Float[Array, "n d"]) -> Float[Array, " n"]:
    return in_batches(target.log_density, z, 250)


def _whole_numbers_check() -> Check:
    return Check(
        "missed whole numbers",
        float(jnp.nan),
        0.0,
        0.0,
        False,
        "",
        False,
        "Nothing looked for values of the discrete unknowns that the approximation has missed.",
        "Sum them out with targets.Enumerated, if they are few enough, or compare several runs by their ELBO.",
    )


def _point_check() -> Check:
    return Check(
        "point estimate",
        float(jnp.nan),
        0.0,
        0.0,
        None,
        "all uncertainty: a point says nothing of the spread of the posterior",
    )
