"""The driver of a run: chunk after chunk, with limits, the plateau rule, the guard, progress and checkpoints."""

import contextlib
import time
from pathlib import Path
from typing import Any

import equinox as eqx
import jax.numpy as jnp

from jensen._run.ahead import DEFAULT_CHUNK, prepare
from jensen._run.checkpoint import Checkpoints
from jensen._run.chunk import begin, one_step
from jensen._run.devices import OneDevice, devices_of
from jensen._run.identity import identity
from jensen._run.signals import watched
from jensen._run.stop import Plateau
from jensen._run.together import from_first
from jensen._run.work import Outcome, Work
from jensen.core import (
    Algorithm,
    Clock,
    InputError,
    NonFiniteDensity,
    Posterior,
    PRNGKey,
    StopCode,
    StorageError,
    beginning,
    check_needs,
)
from jensen.core.algebra import one_thread, width_of
from jensen.core.random import check_key
from jensen.progress import FILE, JsonLines, Progress, Several, Teller, listener

LOOK, GROWTH = 0.25, 1e-3  # of the log in the folder of a checkpoint: see `progress.JsonLines`


def drive(
    algorithm: Any,
    target: Any,
    *,
    key: Any,
    steps: Any = None,
    start: Posterior | None = None,
    plateau: Plateau | None = None,
    time_limit: Any = None,
    chunk: int = DEFAULT_CHUNK,
    checkpoint: str | Path | None = None,
    progress: bool | Progress | None = None,
    mesh: Any = None,
) -> Outcome:
    """Run `algorithm` on `target` without certifying: see `jensen.run` for the arguments and errors."""
    began = time.perf_counter()
    _check(algorithm, target, key, steps, time_limit, chunk)
    total = algorithm.default_steps if steps is None else steps
    exact = beginning(target)
    if start is not None and start.space.dimension != exact.space.dimension:
        raise InputError(
            f"start has {start.space.dimension} unconstrained coordinates, the target has {exact.space.dimension}: "
            "start from a posterior of the same model"
        )
    devices = devices_of(mesh, algorithm, target)
    listening = listener(progress if devices.writes else False)
    devices.agree(key, algorithm, target, start, total)
    placed, placed_key = devices.target(target), devices.same(key)
    if isinstance(devices, OneDevice):  # the programs of a mesh are others
        prepare(algorithm, target, key, start, chunk)
    which = {} if checkpoint is None else identity(algorithm, target, key, steps=total, plateau=plateau, start=start)
    opened = contextlib.nullcontext() if checkpoint is None else Checkpoints(Path(checkpoint), which, devices.writes)
    with one_thread(width_of(exact)), opened as store, watched() as watch:
        saved = from_first(devices, store.load) if store else None
        with devices.use():
            model, algorithm_there = devices.beginning(target), devices.same(algorithm)
            state, found, point = begin(algorithm_there, model, placed_key, devices.same(start))
        if not bool(found):
            raise _nowhere(exact, devices.local(point))
        work = Work(algorithm, state, total, devices)
        if saved is not None:
            work.resume(saved, _step_shapes(algorithm, work.state, exact, key), exact)
        devices.most(0)  # all processes have read before the first one writes
        if store:
            work.notes += store.notes
            work.save(store, began)  # before the first step too: a place that cannot be written to is found out now
            if devices.writes:
                listening = Several(listening, JsonLines(store.folder / FILE, LOOK, GROWTH))
        teller, first = Teller(listening, type(algorithm).__name__, began, time_limit), work.t
        try:
            teller.tell(work.t, work.total, notes=work.notes)
            while work.stop is StopCode.CONTINUE:
                if work.t >= work.total:
                    work.stop = StopCode.PLATEAU if work.settling else StopCode.STEPS
                    break
                if work.records:  # a sampler that has not taken a step has nothing to hand back
                    late = time_limit is not None and time.perf_counter() - began > time_limit
                    here = StopCode.TERMINATED if watch.asked else StopCode.TIME if late else StopCode.CONTINUE
                    work.stop = StopCode(devices.most(here))  # one exchange a chunk, whichever process is asked
                    if work.stop is not StopCode.CONTINUE:
                        break
                with devices.use():
                    work.chunk(placed, placed_key, chunk)
                if work.stop is StopCode.CONTINUE and plateau is not None and not work.settling:
                    work.settle(plateau)
                words = _throughput(target, work.t - first, began)
                teller.tell(work.t, work.total, work.records[-1], work.notes, words)
                if store:
                    work.save(store, began)
        except KeyboardInterrupt:
            if not work.records:
                raise
            work.stop = StopCode.INTERRUPTED
        except StorageError as error:
            # of several processes the others do not come to gather it
            error.kept = None if devices.several else work.outcome(exact.space, began)
            raise
        finally:
            teller.close()
            work.rest(target)
    return work.outcome(exact.space, began)


def _nowhere(exact: Any, point: Any) -> NonFiniteDensity:
    reason = exact.diagnose(point)
    return NonFiniteDensity(
        "The log density is NaN or infinite at every starting point tried (64 draws of target.start). "
        + (f"There, {reason}. " if reason else "")
        + "Check data and priors (a zero scale, the log of a negative number, data outside a likelihood's support)"
    )


def _throughput(target: Any, steps: int, began: float) -> str:
    """Rows a second since the run began, compilation included, where each step sees a minibatch."""
    rows = getattr(target, "batch_size", 0) * steps
    return f"{rows / (time.perf_counter() - began):,.0f} rows/s" if rows else ""


def _check(algorithm: Any, target: Any, key: Any, steps: Any, time_limit: Any, chunk: Any) -> None:
    if not isinstance(algorithm, Algorithm):
        raise InputError(
            f"algorithm must be an instance of a Jensen algorithm, got {algorithm!r}: for example "
            "jensen.algorithms.Laplace()"
        )
    check_key(key)
    check_needs(algorithm, target)
    if steps is not None and (isinstance(steps, bool) or not isinstance(steps, int) or steps < 1):
        raise InputError(f"steps must be a positive whole number, got {steps!r}")
    if time_limit is not None and not time_limit > 0:
        raise InputError(f"time_limit must be a positive number of seconds, got {time_limit!r}")
    if not isinstance(chunk, int) or chunk < 1:
        raise InputError(f"chunk must be a positive whole number of steps, got {chunk!r}")


def _step_shapes(algorithm: Algorithm, state: Any, target: Any, key: PRNGKey) -> Any:
    zero = jnp.zeros((), jnp.int32)
    return eqx.filter_eval_shape(one_step, algorithm, key, state, target, Clock(zero, zero))[1]
