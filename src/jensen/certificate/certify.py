"""`certify`: every check that applies to a posterior."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.certificate.chains import batch, chain_checks
from jensen.certificate.discrete import (
    ContinuousPart,
    conditional_check,
    exact_certificate,
    missed_check,
    table_of,
)
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
from jensen.certificate.streamed import certify_modes, weigh_by_pass
from jensen.certificate.weights import NUM_DRAWS, Weights, weigh, weight_checks
from jensen.core import (
    Certificate,
    Check,
    Compiled,
    DensityPosterior,
    DrawsPosterior,
    InPasses,
    InputError,
    PointPosterior,
    Posterior,
    PRNGKey,
    WeightedPosterior,
    at_once,
    check_key,
    in_batches,
    merge,
    stream,
)
from jensen.core.algebra import one_thread, width_of
from jensen.core.random import POSTERIOR, SEARCH
from jensen.core.stored import StoredPosterior
from jensen.targets.wrappers.enumerated import Enumerated


def certify(
    posterior: Posterior, target: Any, key: Any, *, modes: Modes | None = None, num_draws: int = NUM_DRAWS
) -> Certificate:
    """Certify a posterior against its target with draws that it has not seen.

    A density: Pareto k-hat and importance ESS of fresh draws, agreement of its moments with the reweighted ones, the
    ELBO and an importance-weighted lower bound on the log evidence (both bounds in expectation, reported with their
    error). Draws: R-hat, bulk and tail ESS, divergences. Both: modes found by climbing from other starting points (d <=
    200) must not lie where the posterior has no mass. A point: nothing can certify it, and the certificate says so.

    Discrete unknowns: where all their joint values can be gone through (256 of them, 4,096 where nothing else is
    unknown), a density over them is compared with the posterior value by value, and its continuous part with the target
    from which they are summed out. Elsewhere nothing looks for values that it has missed, and it is not certified. No
    check sees a mode that neither draws nor climbs come near: `Certificate.blind_to` says so for each
    check that ran.

    Rows on disk (`targets.Streamed`): one pass over all rows for all draws; climbs see some thousand of the rows, and
    what they find elsewhere is followed on all of them.

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
    with one_thread(width_of(target)):
        return _certify(posterior, target, key, modes, num_draws)


def _certify(posterior: Posterior, target: Any, key: PRNGKey, modes: Modes | None, num_draws: int) -> Certificate:
    if any(target.space.discrete):
        return _certify_discrete(posterior, target, key, num_draws)
    if isinstance(target, InPasses):
        return _certify_in_passes(posterior, target, key, num_draws)
    if modes is None and target.space.dimension <= MAX_DIMENSION:
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


def _certify_in_passes(posterior: Posterior, target: Any, key: Any, num_draws: int) -> Certificate:
    """The same checks where the rows are on disk: a pass for all draws, and modes as `certify_modes` can find them."""
    if isinstance(posterior, DensityPosterior | WeightedPosterior):
        q = posterior.q if isinstance(posterior, DensityPosterior) else posterior.proposal
        if q is None:
            return Certificate(())
        weights = weigh_by_pass(key, q, target, num_draws)
        return merge([certify_weights(posterior, weights, q, None), certify_modes(key, posterior, target, weights)])
    if isinstance(posterior, DrawsPosterior):
        return merge([chain_checks(posterior), certify_modes(key, posterior, target, None)])
    return Certificate(())


def _certify_discrete(posterior: Posterior, target: Any, key: Any, num_draws: int) -> Certificate:
    """Where the values of the discrete unknowns can be gone through, as if they were summed out of target and q."""
    sums = table_of(target)
    if sums is None or not isinstance(posterior, DensityPosterior):  # climbs go through R^d only
        return merge([_checked(posterior, target, key, None, num_draws), Certificate((missed_check(),))])
    if all(target.space.discrete):
        return exact_certificate(posterior.q, sums)
    rest = Enumerated(target)
    part: Any = ContinuousPart(posterior.q, sums)
    continuous = certify(DensityPosterior(rest.space, part), rest, key, num_draws=num_draws)
    return merge([continuous, Certificate((conditional_check(stream(key, POSTERIOR), posterior.q, sums),))])


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
    return in_batches(target.log_density, z, at_once(target, 250))


def _point_check() -> Check:
    return Check(
        "point estimate",
        float(jnp.nan),
        0.0,
        0.0,
        None,
        "all uncertainty: a point says nothing of the spread of the posterior",
    )
