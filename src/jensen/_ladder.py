"""`fit`: the autopilot. Cheap approximations first; the first one whose certificate holds is the answer."""

import dataclasses
import platform
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from jensen._run import Outcome, drive
from jensen.algorithms import BatchMatch, Laplace
from jensen.certificate import Modes, certify, certify_weights, modes_of, search, weigh
from jensen.certificate.modes import MAX_DIMENSION
from jensen.certificate.weights import weigh_more
from jensen.core import (
    Algorithm,
    Certificate,
    DensityPosterior,
    Fit,
    InputError,
    NonFiniteDensity,
    Posterior,
    PRNGKey,
    Run,
    StopCode,
    Target,
    WeightedPosterior,
    check_key,
    stream,
)
from jensen.core.random import CERTIFY, RESTART, SEARCH

GOOD_KHAT = 0.5  # below it a density's own draws will do; up to 0.7 they are resampled by their weights
FEWEST_WEIGHTED = 2000.0  # effective draws of a resampled posterior: quantile widths within about 4 %
MORE_BATCHES = 4


@dataclasses.dataclass(frozen=True)
class Attempt:
    """What a rung came to: a posterior, its certificate and its run."""

    posterior: Posterior
    certificate: Certificate
    run: Run

    @property
    def failures(self) -> int:
        """Number of checks that failed; a certificate without checks counts as the worst."""
        ran = [c for c in self.certificate.checks if c.holds is not None]
        return sum(not c.holds for c in ran) if ran else 99


@dataclasses.dataclass(frozen=True)
class Rung:
    """A step of the ladder: `make(target, best)` gives the algorithm, or None where the rung does not apply."""

    name: str
    make: Callable[[Target, Sequence[Attempt]], Algorithm | None]
    steps: int | None = None


def _laplace(target: Target, tried: Sequence[Attempt]) -> Algorithm | None:
    d = target.space.dimension
    return Laplace(num_starts=8 if d <= 50 else 4) if d <= MAX_DIMENSION else None


def _batch_match(target: Target, tried: Sequence[Attempt]) -> Algorithm | None:
    return BatchMatch()


LADDER = (Rung("Laplace", _laplace), Rung("Gaussian", _batch_match, 100))


def fit(
    model: Any,
    *args: Any,
    key: Any,
    time_limit: float | None = None,
    progress: bool | None = None,
    ladder: Sequence[Rung] = LADDER,
    **kwargs: Any,
) -> Fit:
    """Fit a target, or a NumPyro model called with `*args` and `**kwargs`, and certify the result.

    The rungs, each started from the best result before it: mode and Laplace; a full-rank Gaussian by batch and match; a
    flow; preconditioned NUTS; SMC. After each one the result is certified with fresh draws; where the importance weights of
    a density are usable but not flat (0.5 < k-hat < 0.7, or moments off) its draws are resampled by them. The first
    certified result is returned. If none is, the one with the fewest failed checks is, and its certificate says so.

    Args:
        model: a `Target`, or a NumPyro model.
        key: a typed JAX key.
        time_limit: seconds after which no new rung is begun and a running one is stopped.
        progress: show a bar for each rung; only on a terminal where None.
        ladder: the rungs, if not the usual ones.

    Raises:
        InputError, NonFiniteDensity, MissingCapability: as `run` and `targets.from_numpyro` do.
    """
    key = check_key(key)
    if time_limit is not None and not time_limit > 0:
        raise InputError(f"time_limit must be a positive number of seconds, got {time_limit!r}")
    target = _as_target(model, args, kwargs)
    began, tried, modes = time.perf_counter(), [], None
    for i, rung in enumerate(ladder):
        left = None if time_limit is None else time_limit - (time.perf_counter() - began)
        if tried and left is not None and left <= 0:
            break
        algorithm = rung.make(target, tried)
        if algorithm is None:
            continue
        rung_key = jax.random.fold_in(stream(key, RESTART), i)
        start = _start(tried)
        outcome = drive(
            algorithm, target, key=rung_key, steps=rung.steps, start=start, time_limit=left and max(left, 1e-3), progress=progress
        )
        if modes is None and target.space.dimension <= MAX_DIMENSION:
            modes = _modes(outcome, target, key)
        tried.append(judge(outcome, target, rung_key, modes))
        if tried[-1].certificate.passed or outcome.run.stop is StopCode.INTERRUPTED:
            break
    if not tried:
        raise InputError("The ladder has no rung that applies to this target")
    best = min(reversed(tried), key=lambda a: a.failures)
    runs = tuple(a.run for a in tried if a is not best) + (best.run,)
    return Fit(best.posterior, _with_bound(best.certificate, tried), runs, about(key, target))


def judge(outcome: Outcome, target: Target, key: PRNGKey, modes: Modes | None) -> Attempt:
    """Certify an outcome; a density that needs it and whose weights allow it is resampled by them."""
    posterior = outcome.posterior
    key = stream(key, CERTIFY)
    began = time.perf_counter()
    if isinstance(posterior, DensityPosterior):
        weights = weigh(key, posterior.q, target)
        certificate = certify_weights(posterior, weights, posterior.q, modes)
        khat = float(weights.khat)
        if khat < 0.7 and not (certificate.passed and khat < GOOD_KHAT):
            if float(weights.ess) < FEWEST_WEIGHTED:
                weights = weigh_more(stream(key, CERTIFY), posterior.q, target, weights, MORE_BATCHES)
            resampled = WeightedPosterior(posterior.space, weights.z, weights.log_weights, posterior.q)
            reweighted = certify_weights(resampled, weights, posterior.q, modes)
            if reweighted.passed or not certificate.passed:
                posterior, certificate = resampled, reweighted
    else:
        certificate = certify(posterior, target, key, modes=modes)
    verdict = "certified" if certificate.passed else "not certified: " + ", ".join(
        c.name for c in certificate.checks if c.holds is False
    )
    seconds = outcome.run.seconds + time.perf_counter() - began
    run = dataclasses.replace(outcome.run, verdict=verdict, certificate=certificate, seconds=seconds)
    return Attempt(posterior, certificate, run)


def _start(tried: Sequence[Attempt]) -> Posterior | None:
    """The density of highest ELBO so far, to start the next rung from."""
    densities = [a for a in tried if a.certificate.elbo is not None]
    if not densities:
        return None
    best = max(densities, key=lambda a: a.certificate.elbo or -np.inf)
    posterior = best.posterior
    if isinstance(posterior, WeightedPosterior) and posterior.proposal is not None:
        return DensityPosterior(posterior.space, posterior.proposal)
    return posterior


def _modes(outcome: Outcome, target: Target, key: PRNGKey) -> Modes:
    """The modes that the first rung's climbs came to, which were dispersed; else those of a search."""
    state = outcome.state
    if isinstance(outcome.algorithm, Laplace) and outcome.algorithm.num_starts >= 4:
        return modes_of(state.climbs, state.decrement)
    return search(stream(key, SEARCH), target)


def _with_bound(certificate: Certificate, tried: Sequence[Attempt]) -> Certificate:
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


def _as_target(model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Target:
    if isinstance(model, Target):
        if args or kwargs:
            raise InputError("A target has its data already: pass data only with a NumPyro model")
        return model
    from jensen.targets import from_numpyro

    return from_numpyro(model, *args, **kwargs)


def about(key: PRNGKey, target: Target) -> dict[str, Any]:
    """Plain data on how to make a fit again: versions, the key, the target's dimension and a hash of its data."""
    from importlib.metadata import version

    from jensen._run.checkpoint import fingerprint

    return {
        "versions": {name: version(name) for name in ("jensen", "jax", "numpyro", "equinox", "blackjax")}
        | {"python": platform.python_version()},
        "key": np.asarray(jax.random.key_data(key)).tolist(),
        "dimension": target.space.dimension,
        "target": type(target).__name__,
        "data_sha256": fingerprint(None, target, key),
        "precision": str(jax.numpy.result_type(float)),
    }


__all__ = ["LADDER", "Attempt", "NonFiniteDensity", "Rung", "fit", "judge"]
