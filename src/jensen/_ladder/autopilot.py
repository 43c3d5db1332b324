"""`fit`: cheap approximations first; the first one whose certificate holds is the answer."""

import contextlib
import dataclasses
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jensen._ladder.ahead import prepare
from jensen._ladder.judging import judge, pooled, unjudged, with_bound
from jensen._ladder.rungs import LADDER
from jensen._ladder.state import Ascent, Rung
from jensen._run import Outcome, drive
from jensen._run.devices import OneDevice, devices_of
from jensen._run.lock import Lock
from jensen._run.signals import watched
from jensen.algorithms import Laplace
from jensen.certificate import Modes, modes_of, search
from jensen.certificate.modes import MAX_DIMENSION
from jensen.core import Algorithm, Fit, InputError, PRNGKey, StopCode, StorageError, Target, at_step, check_key, stream
from jensen.core.algebra import one_thread, width_of
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
    mesh: Any = None,
    checkpoint: str | Path | None = None,
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
        mesh: devices to share the work, as in `run`; chains that they cannot share equally stay whole.
        checkpoint: a folder; each rung saves its run in a folder of its own there, and the same call goes on where the
            last one was stopped: no step of a finished rung is taken again, only its certificate is computed again,
            from the same draws. The result is the same, bit for bit, unless `time_limit` cut it short.
        **kwargs: data of a NumPyro model.

    Ctrl-C ends the running rung and the ladder, and what there is is judged; SIGTERM does so after the chunk in work is
    saved, and judges nothing more.

    Raises:
        InputError, NonFiniteDensity, MissingCapability, ProcessLost: as `run` and `targets.from_numpyro` do.
        StorageError: as `run` does, of the checkpoint.
    """
    key = check_key(key)
    if time_limit is not None and not time_limit > 0:
        raise InputError(f"time_limit must be a positive number of seconds, got {time_limit!r}")
    target = _as_target(model, args, kwargs)
    devices = devices_of(mesh, None, target)
    listening = listener(progress if devices.writes else False)
    began = time.perf_counter()
    folder = None if checkpoint is None else Path(checkpoint)
    with one_thread(width_of(target)), watched() as watch, _locked(folder if devices.writes else None):
        ascent = Ascent(target)
        for i, rung in enumerate(ladder):
            left = None if time_limit is None else time_limit - (time.perf_counter() - began)
            if ascent.tried and devices.most(watch.asked or (left is not None and left <= 0)):
                break
            algorithm = rung.make(ascent)
            if algorithm is None:
                continue
            rung_key = at_step(stream(key, RESTART), i)
            options = {"time_limit": None if left is None else max(left, 1e-3), "progress": listening, "mesh": devices}
            place = None if folder is None else folder / f"{i}-{rung.name.replace(' ', '-')}"
            try:
                if isinstance(devices, OneDevice):
                    prepare(algorithm, target, at_step(rung_key, 0), ascent.start)
                outcome = _climb(rung, algorithm, ascent, rung_key, place, options)
                if outcome.run.stop is StopCode.TERMINATED:
                    ascent = ascent.after(unjudged(outcome))
                    break
                with devices.use():
                    seen = devices.exact(target)
                    if ascent.modes is None and target.space.dimension <= MAX_DIMENSION:
                        ascent = dataclasses.replace(ascent, modes=_modes(outcome, seen, key))
                    attempt = judge(outcome, seen, rung_key, ascent.modes)
                attempt = dataclasses.replace(attempt, posterior=devices.local(attempt.posterior))
                listening.certified(outcome.run.algorithm, attempt.certificate)
            except KeyboardInterrupt:  # while compiling or certifying; within a run the loop keeps the state
                if not ascent.tried:
                    raise
                break
            except StorageError as error:
                if error.kept is not None:
                    error.kept = _answer(ascent.after(unjudged(error.kept)), key, target, devices.several)
                raise
            ascent = ascent.after(attempt)
            if attempt.certificate.passed or outcome.run.stop is StopCode.INTERRUPTED:
                break
        if not ascent.tried:
            raise InputError("The ladder has no rung that applies to this target")
        return _answer(ascent, key, target, devices.several)


def _locked(folder: Path | None) -> Any:
    return contextlib.nullcontext() if folder is None else Lock(folder)


def _climb(
    rung: Rung, algorithm: Algorithm, ascent: Ascent, key: PRNGKey, place: Path | None, options: dict[str, Any]
) -> Outcome:
    """The rung's runs, pooled; the last is the one that was stopped, if any was."""
    outcomes = []
    for r in range(rung.repeats):
        outcomes.append(
            drive(
                algorithm,
                ascent.target,
                key=at_step(key, r),
                steps=rung.steps,
                start=ascent.start,
                checkpoint=None if place is None else place / str(r),
                **options,
            )
        )
        if outcomes[-1].run.stop is StopCode.TERMINATED:
            return outcomes[-1]
    return pooled(outcomes)


def _answer(ascent: Ascent, key: PRNGKey, target: Target, shared: bool) -> Fit:
    """The attempt with the fewest failed checks, the last of several; its run comes last."""
    best = min(reversed(ascent.tried), key=lambda a: a.failures)
    runs = (*(a.run for a in ascent.tried if a is not best), best.run)
    certificate = with_bound(best.certificate, ascent.tried)
    return Fit(best.posterior, certificate, runs, about(key, target), shared=shared)


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

    from jensen._run.identity import data_digest

    return {
        "versions": {name: version(name) for name in ("jensen", "jax", "numpyro", "equinox", "blackjax")}
        | {"python": platform.python_version()},
        "key": np.asarray(jax.random.key_data(key)).tolist(),
        "dimension": target.space.dimension,
        "target": type(target).__name__,
        "data_sha256": data_digest(target),
        "precision": str(jnp.result_type(float)),
    }
