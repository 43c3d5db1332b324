"""`fit`: cheap approximations first; the first one whose certificate holds is the answer."""

import dataclasses
import platform
import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jensen._ladder.judging import judge, pooled, with_bound
from jensen._ladder.rungs import LADDER
from jensen._ladder.state import Ascent, Rung
from jensen._run import Outcome, drive
from jensen.algorithms import Laplace
from jensen.certificate import Modes, modes_of, search
from jensen.certificate.modes import MAX_DIMENSION
from jensen.core import Fit, InputError, PRNGKey, StopCode, Target, check_key, stream
from jensen.core.random import RESTART, SEARCH
from jensen.progress import Progress, listener
from jensen.targets.wrappers.enumerated import enumerated


def fit(
    model: Any,
    *args: Any,
    key: Any,
    time_limit: float | None = None,
    progress: bool | Progress | None = None,
    ladder: Sequence[Rung] = LADDER,
    **kwargs: Any,
) -> Fit:
    """Fit a target, or a NumPyro model called with `*args` and `**kwargs`, and certify the result.

    Discrete unknowns of finite support are summed out (`targets.Enumerated`); draws of them come with the posterior's.

    The rungs, each started from the best result before it: mode and Laplace; a mixture of Laplace approximations, if
    the first rung met several modes; a full-rank Gaussian by batch and match; NUTS preconditioned by it; a flow; NUTS
    preconditioned by the flow; tempered SMC, four populations. After each one the result is certified with fresh draws;
    where the importance weights of a density are usable but not flat (0.5 < k-hat < 0.7, or moments off) its draws are
    resampled by them. The first certified result is returned. If none is, the one with the fewest failed checks is, and
    its certificate says so.

    Args:
        model: a `Target`, or a NumPyro model.
        *args: data of a NumPyro model.
        key: a typed JAX key.
        time_limit: seconds after which no new rung is begun and a running one is stopped.
        progress: show a bar for each rung, only on a terminal where None; or who listens, as for `run`.
        ladder: the rungs, if not the usual ones.
        **kwargs: data of a NumPyro model.

    Raises:
        InputError, NonFiniteDensity, MissingCapability: as `run` and `targets.from_numpyro` do.
    """
    key = check_key(key)
    if time_limit is not None and not time_limit > 0:
        raise InputError(f"time_limit must be a positive number of seconds, got {time_limit!r}")
    listening = listener(progress)
    target = _as_target(model, args, kwargs)
    began, ascent = time.perf_counter(), Ascent(target)
    for i, rung in enumerate(ladder):
        left = None if time_limit is None else time_limit - (time.perf_counter() - began)
        if ascent.tried and left is not None and left <= 0:
            break
        algorithm = rung.make(ascent)
        if algorithm is None:
            continue
        rung_key = jax.random.fold_in(stream(key, RESTART), i)
        limit = None if left is None else max(left, 1e-3)
        try:
            outcome = pooled(
                [
                    drive(
                        algorithm,
                        target,
                        key=jax.random.fold_in(rung_key, r),
                        steps=rung.steps,
                        start=ascent.start,
                        time_limit=limit,
                        progress=listening,
                    )
                    for r in range(rung.repeats)
                ]
            )
            if ascent.modes is None and target.space.dimension <= MAX_DIMENSION:
                ascent = dataclasses.replace(ascent, modes=_modes(outcome, target, key))
            attempt = judge(outcome, target, rung_key, ascent.modes)
            listening.certified(outcome.run.algorithm, attempt.certificate)
        except KeyboardInterrupt:  # while compiling or certifying; within a run the loop keeps the state
            if not ascent.tried:
                raise
            break
        ascent = dataclasses.replace(ascent, tried=(*ascent.tried, attempt))
        if attempt.certificate.passed or outcome.run.stop is StopCode.INTERRUPTED:
            break
    if not ascent.tried:
        raise InputError("The ladder has no rung that applies to this target")
    best = min(reversed(ascent.tried), key=lambda a: a.failures)
    runs = (*(a.run for a in ascent.tried if a is not best), best.run)
    return Fit(best.posterior, with_bound(best.certificate, ascent.tried), runs, about(key, target))


def _modes(outcome: Outcome, target: Target, key: PRNGKey) -> Modes:
    """The modes that the first rung's climbs came to, which were dispersed; else those of a search."""
    state = outcome.state
    if isinstance(outcome.algorithm, Laplace) and outcome.algorithm.num_starts >= 4:
        return modes_of(state.climbs, state.decrement)
    return search(stream(key, SEARCH), target)


def _as_target(model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Target:
    if isinstance(model, Target):
        if args or kwargs:
            raise InputError("A target has its data already: pass data only with a NumPyro model")
        return enumerated(model)
    from jensen.targets import from_numpyro

    return enumerated(from_numpyro(model, *args, **kwargs))


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
