"""The driver of a run: chunk after chunk, with limits, the plateau rule, the guard, progress and checkpoints."""

import time
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jensen._run import checkpoint as checkpoints
from jensen._run.chunk import advance, begin, one_step
from jensen._run.stop import Plateau, diverged
from jensen.core import (
    Algorithm,
    Clock,
    History,
    InputError,
    Noisy,
    NonFiniteDensity,
    Posterior,
    PRNGKey,
    Run,
    StopCode,
    check_needs,
)
from jensen.core.random import check_key
from jensen.progress import FILE, JsonLines, Progress, Several, Teller, listener

MAX_RETRIES = 5
DEFAULT_CHUNK = 100
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
) -> Outcome:
    """Run `algorithm` on `target` without certifying: see `jensen.run` for the arguments and errors."""
    began = time.perf_counter()
    _check(algorithm, target, key, steps, time_limit, chunk)
    listening = listener(progress)
    total = algorithm.default_steps if steps is None else steps
    exact = target.exact if isinstance(target, Noisy) else target
    if start is not None and start.space.dimension != exact.space.dimension:
        raise InputError(
            f"start has {start.space.dimension} unconstrained coordinates, the target has {exact.space.dimension}: "
            "start from a posterior of the same model"
        )
    state, found, point = begin(algorithm, target, key, start)
    if not bool(found):
        reason = exact.diagnose(point)
        raise NonFiniteDensity(
            "The log density is NaN or infinite at every starting point tried (64 draws of target.start). "
            + (f"There, {reason}. " if reason else "")
            + "Check data and priors (a zero scale, the log of a negative number, data outside a likelihood's support)"
        )
    work = _Work(algorithm, state, total)
    folder = None if checkpoint is None else Path(checkpoint)
    mark = "" if folder is None else checkpoints.fingerprint(algorithm, target, key)
    if folder is not None:
        saved = checkpoints.load(folder, mark)
        if saved is not None:
            work.resume(saved, _step_shapes(algorithm, state, exact, key))
        listening = Several(listening, JsonLines(folder / FILE, LOOK, GROWTH))
    teller, first = Teller(listening, type(algorithm).__name__, began, time_limit), work.t
    try:
        teller.tell(work.t, work.total, notes=work.notes)
        while work.stop is StopCode.CONTINUE:
            if work.t >= work.total:
                work.stop = StopCode.PLATEAU if work.settling else StopCode.STEPS
                break
            if time_limit is not None and time.perf_counter() - began > time_limit:
                work.stop = StopCode.TIME
                break
            work.chunk(target, key, chunk)
            if work.stop is StopCode.CONTINUE and plateau is not None and not work.settling:
                work.settle(plateau)
            words = _throughput(target, work.t - first, began)
            teller.tell(work.t, work.total, work.records[-1], work.notes, words)
            if folder is not None:
                work.save(folder, mark)
    except KeyboardInterrupt:
        work.stop = StopCode.INTERRUPTED
    finally:
        teller.close()
    return work.outcome(exact.space, time.perf_counter() - began)


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

    def __init__(self, algorithm: Algorithm, state: Any, total: int):
        self.algorithm, self.state, self.total, self.asked = algorithm, state, total, total
        self.t, self.retries, self.settling = 0, 0, False
        self.stop = StopCode.CONTINUE
        self.notes: list[str] = []
        self.records: list[Any] = []
        self.best: tuple[np.ndarray, Any, int] | None = None

    def chunk(self, target: Any, key: PRNGKey, size: int) -> None:
        """Advance to the next multiple of `size` or of the window, record, and guard."""
        until = min(self.t + size, (self.t // WINDOW + 1) * WINDOW, self.total)
        start, end, total = jax.device_put(tuple(np.int32(n) for n in (self.t, until, self.total)))
        go = advance.form(target, self.algorithm) if self.algorithm.brief else advance.full
        state, taken, code, records = go(self.algorithm, target, self.state, key, (start, end, total), size)
        code = StopCode(int(code))
        if code is StopCode.NON_FINITE:  # back to the last finite state: the same steps without the one that failed
            state = go(self.algorithm, target, self.state, key, (start, start + taken, total), size)[0]
        taken = int(taken)
        self.state, self.t = state, self.t + taken
        self.records.append(jax.tree.map(lambda r: np.asarray(r)[:taken], records))
        if code is StopCode.NON_FINITE:
            self._retry(StopCode.NON_FINITE, f"NaN or infinity at step {self.t}")
        elif code is not StopCode.CONTINUE:
            self.stop = code
        elif self.t % WINDOW == 0:
            self._guard()

    def _guard(self) -> None:
        window = self.objective()[-WINDOW:]
        if not np.any(np.isfinite(window)):
            return
        if self.best is None or np.nanmedian(window) < np.nanmedian(self.best[0]):
            self.best = (window, self.state, self.t)
        elif diverged(self.best[0], window):
            self.state = self.best[1]
            self._retry(
                StopCode.DIVERGED, f"objective diverged by step {self.t}, went back to the state of step {self.best[2]}"
            )

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

    def save(self, folder: Path, mark: str) -> None:
        trees = {"state": self.state, "algorithm": self.algorithm, "records": self._joined()}
        if self.best is not None:
            trees |= {"best_objective": self.best[0], "best": self.best[1]}
        plain = ("t", "total", "retries", "settling", "notes")
        meta = {name: getattr(self, name) for name in plain} | {
            "stop": int(self.stop),
            "best_t": self.best[2] if self.best else -1,
        }
        checkpoints.save(folder, mark, trees, meta | {"asked": self.asked})

    def resume(self, saved: checkpoints.Saved, step_shapes: Any) -> None:
        """Take up the work where the checkpoint left it."""
        meta = saved.meta
        if meta["asked"] != self.asked:
            raise InputError(
                f"The checkpoint is of a run of {meta['asked']} steps, {self.asked} were asked for: use the same number"
            )
        for name in ("t", "total", "retries", "settling", "notes"):
            setattr(self, name, meta[name])
        fresh = self.state
        self.state = saved.fill("state", fresh)
        self.algorithm = saved.fill("algorithm", self.algorithm)
        self.stop = StopCode(meta["stop"])
        self.records = [jax.tree.unflatten(jax.tree.structure(step_shapes), saved.arrays("records"))]
        if meta["best_t"] >= 0:
            self.best = (saved.arrays("best_objective")[0], saved.fill("best", fresh), meta["best_t"])

    def outcome(self, space: Any, seconds: float) -> Outcome:
        records = self._joined()
        if records is None:
            draws, history = None, History(np.zeros(0), np.zeros(0), {})
        else:
            draws, history = records.draw, History(records.objective, records.residual, records.scalars)
        posterior = self.algorithm.posterior(self.state, draws, space)
        run = Run(
            type(self.algorithm).__name__, settings(self.algorithm), history, self.stop, seconds, tuple(self.notes)
        )
        return Outcome(posterior, run, self.state, self.algorithm)


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
