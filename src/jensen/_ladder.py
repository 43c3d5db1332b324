"""`fit`: the autopilot. Cheap approximations first; the first one whose certificate holds is the answer."""

import dataclasses
import platform
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jensen._run import Outcome, drive
from jensen.algorithms import NUTS, BatchMatch, GradientVI, Laplace, LaplaceMixture, TemperedSMC
from jensen.algorithms.nuts import Dense, Diagonal
from jensen.certificate import Modes, certify, certify_weights, modes_of, search, weigh
from jensen.certificate.modes import MAX_DIMENSION
from jensen.certificate.weights import weigh_more
from jensen.core import (
    Algorithm,
    Certificate,
    DensityPosterior,
    DrawsPosterior,
    Fit,
    InputError,
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
from jensen.families import FlowBuilder
from jensen.families.bijective import Bijective

GOOD_KHAT = 0.5  # below it a density's own draws will do; up to 0.7 they are resampled by their weights
FEWEST_WEIGHTED = 2000.0  # effective draws of a resampled posterior: quantile widths within about 4 %
MORE_BATCHES = 4
USELESS_KHAT = 1.5  # a density whose weights are worse is no place to start from
BAD_KHAT = 1.0  # a Gaussian whose weights are worse (no finite mean) is no preconditioner: a flow is
CHAINS = 4
SMC_DIMENSION = 100
DENSE = 50  # up to here the sampler learns a dense metric


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
class Climb:
    """How far the ladder has come: the target, the attempts so far, and the modes that the first rung found."""

    target: Target
    tried: tuple[Attempt, ...] = ()
    modes: Modes | None = None

    @property
    def best(self) -> Attempt | None:
        """The attempt whose density is the best start so far."""
        useful = [
            a for a in self.tried if _khat(a) < USELESS_KHAT and not _fails(a, "missed modes", "evidence elsewhere")
        ]
        return max(useful, key=lambda a: a.certificate.elbo or -np.inf) if useful else None

    @property
    def start(self) -> Posterior | None:
        """The density of highest ELBO so far, to begin the next rung from; None if none is of use.

        One that misses modes, or whose weights have hardly any finite moment, would only mislead.
        """
        if self.best is None:
            return None
        posterior = self.best.posterior
        if isinstance(posterior, WeightedPosterior) and posterior.proposal is not None:
            return DensityPosterior(posterior.space, posterior.proposal)
        return posterior

    @property
    def several_modes(self) -> bool:
        """Whether a check of missed modes has failed: one mode's density will not do."""
        return any(_fails(a, "missed modes") for a in self.tried)


def _khat(attempt: Attempt) -> float:
    khat, elbo = attempt.certificate.khat, attempt.certificate.elbo
    return np.inf if khat is None or elbo is None or not np.isfinite(elbo) else khat


def _fails(attempt: Attempt, *names: str) -> bool:
    return any(c.name in names and c.holds is False for c in attempt.certificate.checks)


@dataclasses.dataclass(frozen=True)
class Rung:
    """A step of the ladder: `make(climb)` gives the algorithm, or None where the rung does not apply.

    `repeats`: runs with keys of their own whose draws are pooled as chains, for methods of one population (SMC).
    """

    name: str
    make: Callable[[Climb], Algorithm | None]
    steps: int | None = None
    repeats: int = 1


def _laplace(climb: Climb) -> Algorithm | None:
    d = climb.target.space.dimension
    return Laplace(num_starts=8 if d <= 50 else 4) if d <= MAX_DIMENSION else None


def _mixture(climb: Climb) -> Algorithm | None:
    return LaplaceMixture(Laplace(num_starts=16)) if climb.several_modes else None


def _gaussian(climb: Climb) -> Algorithm | None:
    return None if climb.several_modes else BatchMatch()


def _flow(climb: Climb) -> Algorithm | None:
    return None if climb.several_modes else GradientVI(family=FlowBuilder(), learning_rate=3e-3)


def _smc(climb: Climb) -> Algorithm | None:
    return TemperedSMC(num_particles=2000) if climb.target.space.dimension <= SMC_DIMENSION else None


def _gaussian_sampler(climb: Climb) -> Algorithm | None:
    """NUTS in the coordinates of a Gaussian, where that is near enough to be of help."""
    if climb.best is None or _khat(climb.best) > BAD_KHAT:
        return None
    return _nuts(climb, 0.95)


def _flow_sampler(climb: Climb) -> Algorithm:
    """NUTS in the coordinates of the best bijective family so far, from dispersed points where there is none."""
    return _nuts(climb, 0.95)


def _nuts(climb: Climb, acceptance: float) -> Algorithm:
    best = climb.start
    transport = best.q if isinstance(best, DensityPosterior) and isinstance(best.q, Bijective) else None
    metric = Dense() if climb.target.space.dimension <= DENSE else Diagonal()
    return NUTS(
        chains=CHAINS, transport=transport, metric=metric, warmup=0.3, target_acceptance=acceptance, max_doublings=8
    )


LADDER = (
    Rung("Laplace", _laplace),
    Rung("mixture", _mixture),
    Rung("Gaussian", _gaussian, 100),
    Rung("NUTS", _gaussian_sampler, 1200),
    Rung("flow", _flow, 3000),
    Rung("flow NUTS", _flow_sampler, 2000),
    Rung("SMC", _smc, repeats=4),
)


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

    The rungs, each started from the best result before it: mode and Laplace; a mixture of Laplace approximations, if
    the first rung met several modes; a full-rank Gaussian by batch and match; NUTS preconditioned by it; a flow; NUTS
    preconditioned by the flow; tempered SMC, four populations. After each one the result is certified with fresh
    draws; where the importance weights of
    a density are usable but not flat (0.5 < k-hat < 0.7, or moments off) its draws are resampled by them. The first
    certified result is returned. If none is, the one with the fewest failed checks is, and its certificate says so.

    Args:
        model: a `Target`, or a NumPyro model.
        *args: data of a NumPyro model.
        key: a typed JAX key.
        time_limit: seconds after which no new rung is begun and a running one is stopped.
        progress: show a bar for each rung; only on a terminal where None.
        ladder: the rungs, if not the usual ones.
        **kwargs: data of a NumPyro model.

    Raises:
        InputError, NonFiniteDensity, MissingCapability: as `run` and `targets.from_numpyro` do.
    """
    key = check_key(key)
    if time_limit is not None and not time_limit > 0:
        raise InputError(f"time_limit must be a positive number of seconds, got {time_limit!r}")
    target = _as_target(model, args, kwargs)
    began, climb = time.perf_counter(), Climb(target)
    for i, rung in enumerate(ladder):
        left = None if time_limit is None else time_limit - (time.perf_counter() - began)
        if climb.tried and left is not None and left <= 0:
            break
        algorithm = rung.make(climb)
        if algorithm is None:
            continue
        rung_key = jax.random.fold_in(stream(key, RESTART), i)
        limit = None if left is None else max(left, 1e-3)
        try:
            outcome = _pooled(
                [
                    drive(
                        algorithm,
                        target,
                        key=jax.random.fold_in(rung_key, r),
                        steps=rung.steps,
                        start=climb.start,
                        time_limit=limit,
                        progress=progress,
                    )
                    for r in range(rung.repeats)
                ]
            )
            if climb.modes is None and target.space.dimension <= MAX_DIMENSION:
                climb = dataclasses.replace(climb, modes=_modes(outcome, target, key))
            attempt = judge(outcome, target, rung_key, climb.modes)
        except KeyboardInterrupt:  # while compiling or certifying; within a run the loop keeps the state
            if not climb.tried:
                raise
            break
        climb = dataclasses.replace(climb, tried=(*climb.tried, attempt))
        if attempt.certificate.passed or outcome.run.stop is StopCode.INTERRUPTED:
            break
    if not climb.tried:
        raise InputError("The ladder has no rung that applies to this target")
    best = min(reversed(climb.tried), key=lambda a: a.failures)
    runs = (*(a.run for a in climb.tried if a is not best), best.run)
    return Fit(best.posterior, _with_bound(best.certificate, climb.tried), runs, about(key, target))


def _pooled(outcomes: Sequence[Outcome]) -> Outcome:
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
                weights = weigh_more(stream(key, CERTIFY), posterior.q, target, weights, MORE_BATCHES)
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
        "precision": str(jnp.result_type(float)),
    }


__all__ = ["LADDER", "Attempt", "Climb", "Rung", "fit", "judge"]
