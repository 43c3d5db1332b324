"""The driver of a run: chunk after chunk, with limits, the plateau rule, the guard, progress and checkpoints."""

import contextlib
import time
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jensen._run.ahead import DEFAULT_CHUNK, bounds, prepare
from jensen._run.checkpoint import Checkpoints, Saved
from jensen._run.chunk import begin, one_step, program
from jensen._run.devices import OneDevice, devices_of
from jensen._run.identity import identity
from jensen._run.signals import watched
from jensen._run.stop import Plateau, diverged
from jensen._run.together import from_first
from jensen.core import (
    Algorithm,
    Clock,
    History,
    InputError,
    NonFiniteDensity,
    Posterior,
    PRNGKey,
    Run,
    StopCode,
    StorageError,
    Streams,
    beginning,
    check_needs,
    stream,
)
from jensen.core.random import BATCH, check_key
from jensen.progress import FILE, JsonLines, Progress, Several, Teller, listener

MAX_RETRIES = 5
LOOK, GROWTH = 0.25, 1e-3  # of the log in the folder of a checkpoint: see `progress.JsonLines`
WINDOW = 100  # steps between looks of the guard and the plateau rule: fixed, so that chunk length changes nothing


class Outcome(eqx.Module):
    """What a run leaves: the posterior, the record, and the last state (to go on from)."""

    posterior: Posterior
    run: Run
    state: Any
    algorithm: Algorithm


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
    streams = isinstance(target, Streams)
    devices = devices_of(mesh, algorithm, target)
    listening = listener(progress if devices.writes else False)
    devices.agree(key, algorithm, target, start, total)
    placed, placed_key = target if streams else devices.target(target), devices.same(key)
    if isinstance(devices, OneDevice):
        prepare(algorithm, exact if streams else target, key, start, chunk)
    which = {} if checkpoint is None else identity(algorithm, target, key, steps=total, plateau=plateau, start=start)
    opened = contextlib.nullcontext() if checkpoint is None else Checkpoints(Path(checkpoint), which, devices.writes)
    with opened as store, watched() as watch:
        saved = from_first(devices, store.load) if store else None
        with devices.use():
            model = devices.same(exact) if streams else placed
            state, found, point = begin(devices.same(algorithm), model, placed_key, devices.same(start))
        if not bool(found):
            raise _nowhere(exact, devices.local(point))
        work = _Work(algorithm, state, total, devices)
        if saved is not None:
            work.resume(saved, _step_shapes(algorithm, work.state, exact, key), exact)
        devices.first(True)  # all processes have read before the first one writes
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
                    late = time_limit is not None and devices.first(time.perf_counter() - began > time_limit)
                    asked = devices.first(watch.asked)
                    work.stop = StopCode.TERMINATED if asked else StopCode.TIME if late else work.stop
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
            if streams:
                target.rest()
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


class _Work:
    """The moving parts of one run: mutable, private to the driver."""

    def __init__(self, algorithm: Algorithm, state: Any, total: int, devices: Any):
        self.algorithm, self.state, self.total, self.devices = algorithm, state, total, devices
        self.t, self.retries, self.settling = 0, 0, False
        self.stop = StopCode.CONTINUE
        self.notes: list[str] = []
        self.records: list[Any] = []
        self.best: tuple[np.ndarray, Any, int] | None = None
        self.seconds = 0.0  # of the runs that this one goes on from

    def chunk(self, target: Any, key: PRNGKey, size: int) -> None:
        """Advance to the next multiple of `size` or of the window, record, and guard."""
        if isinstance(target, Streams):
            size = min(size, target.feed_length)
        until = self._until(self.t, size)
        if isinstance(target, Streams):
            following = self._until(until, size) - until
            target = self.devices.fed(target.feed(stream(key, BATCH), self.t, until, size, following))
        algorithm, start, end, total = self.devices.same((self.algorithm, *bounds(self.t, until, self.total)))
        go = program(self.algorithm, target)
        state, taken, code, records = go(algorithm, target, self.state, key, (start, end, total), size)
        code = StopCode(int(code))
        if code is StopCode.NON_FINITE:  # back to the last finite state: the same steps without the one that failed
            state = go(algorithm, target, self.state, key, (start, start + taken, total), size)[0]
        taken = int(taken)
        records = jax.tree.map(lambda r: np.asarray(r)[:taken], records)
        self.state, self.t = state, self.t + taken
        self.records.append(records)
        if code is StopCode.NON_FINITE:
            self._retry(StopCode.NON_FINITE, f"NaN or infinity at step {self.t}")
        elif code is not StopCode.CONTINUE:
            self.stop = code
        elif self.t % WINDOW == 0:
            self._guard()

    def _until(self, t: int, size: int) -> int:
        """Where a chunk that begins at t ends."""
        return min(t + size, (t // WINDOW + 1) * WINDOW, self.total)

    def _guard(self) -> None:
        window = self._last(WINDOW)
        if not np.any(np.isfinite(window)):
            return
        if self.best is None or np.nanmedian(window) < np.nanmedian(self.best[0]):
            self.best = (window, self.state, self.t)
        elif diverged(self.best[0], window):
            self.state = self.best[1]
            self._retry(
                StopCode.DIVERGED, f"objective diverged by step {self.t}, went back to the state of step {self.best[2]}"
            )

    def _last(self, count: int) -> np.ndarray:
        """The last `count` objectives, or all if there are fewer: looked up from the end, however long the run is."""
        parts, left = [], count
        for block in reversed(self.records):
            parts.append(block.objective[max(0, len(block.objective) - left) :])
            left -= len(parts[-1])
            if left <= 0:
                break
        return np.concatenate(parts[::-1]) if parts else np.zeros(0)

    def objective(self) -> np.ndarray:
        """Objectives of all steps so far, shape (t,)."""
        return np.concatenate([r.objective for r in self.records]) if self.records else np.zeros(0)

    def _retry(self, code: StopCode, words: str) -> None:
        smaller = self.algorithm.cautious() if self.retries < MAX_RETRIES else None
        if smaller is None:
            self.stop = code
            kept = "the last finite state"
            if self.best is not None:
                self.state, kept = self.best[1], f"the best state, of step {self.best[2]}"
            self.notes.append(f"{words}: stopped, kept {kept}")
        else:
            self.algorithm, self.retries = smaller, self.retries + 1
            self.notes.append(f"{words}: went on with smaller steps")

    def settle(self, plateau: Plateau) -> None:
        """On a plateau, stop, or go on to the cool-down of the algorithm's schedule."""
        if self.t % WINDOW or not plateau.reached(self.objective()):
            return
        cooldown = self.algorithm.cooldown
        if cooldown <= 0:
            self.stop = StopCode.PLATEAU
        elif self.t < (1 - cooldown) * self.total:
            self.total, self.settling = int(np.ceil(self.t / (1 - cooldown))), True
            self.notes.append(f"plateau at step {self.t}: cooled down until step {self.total}")

    def _joined(self) -> Any:
        return jax.tree.map(lambda *parts: np.concatenate(parts), *self.records) if self.records else None

    def save(self, store: Checkpoints, began: float) -> None:
        """Save all that a resumed run needs; what was recorded before the last save is not written again."""
        state, best = self.devices.local((self.state, None if self.best is None else self.best[1]))
        trees = {"state": state, "algorithm": self.algorithm}
        if self.best is not None:
            trees |= {"best_objective": self.best[0], "best": best}
        plain = ("t", "total", "retries", "settling", "notes")
        meta = {name: getattr(self, name) for name in plain} | {
            "stop": int(self.stop),
            "best_t": self.best[2] if self.best else -1,
            "seconds": self.seconds + time.perf_counter() - began,
        }
        store.save(trees, meta, self.records)

    def resume(self, saved: Saved, step_shapes: Any, target: Any) -> None:
        """Take up the work where the checkpoint left it."""
        meta, fresh = saved.meta, self.state
        try:
            for name in ("t", "total", "retries", "settling", "notes", "seconds"):
                setattr(self, name, meta[name])
            self.stop = StopCode(meta["stop"])
            self.state = self.devices.state(saved.fill("state", fresh), self.algorithm, target)
            self.algorithm = saved.fill("algorithm", self.algorithm)
            self.records = [jax.tree.unflatten(jax.tree.structure(step_shapes), block) for block in saved.records]
            if meta["best_t"] >= 0:
                best = self.devices.state(saved.fill("best", fresh), self.algorithm, target)
                self.best = (saved.arrays("best_objective")[0], best, meta["best_t"])
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise StorageError(f"The checkpoint is not one of this run ({type(error).__name__}: {error})") from error

    def outcome(self, space: Any, began: float) -> Outcome:
        records, seconds = self._joined(), self.seconds + time.perf_counter() - began
        if records is None:
            draws, history = None, History(np.zeros(0), np.zeros(0), {})
        else:
            draws, history = records.draw, History(records.objective, records.residual, records.scalars)
        state = self.devices.local(self.state)
        posterior = self.algorithm.posterior(state, draws, space)
        run = Run(
            type(self.algorithm).__name__, settings(self.algorithm), history, self.stop, seconds, tuple(self.notes)
        )
        return Outcome(posterior, run, state, self.algorithm)


def settings(algorithm: eqx.Module) -> dict[str, Any]:
    """The settings of an algorithm as plain data, for records and reports."""
    out = {}
    for name, value in vars(algorithm).items():
        if isinstance(value, int | float | str | bool) or value is None:
            out[name] = value
        elif eqx.is_array(value) and value.ndim == 0:
            out[name] = value.item()
        elif isinstance(value, eqx.Module):
            out[name] = {"class": type(value).__name__, **settings(value)}  # pyright: ignore[reportArgumentType]
        else:
            out[name] = str(type(value).__name__)
    return out
