"""The moving parts of one run: its state, step and records, what it does about NaN, divergence and plateaus."""

import time
from typing import Any

import equinox as eqx
import jax
import numpy as np

from jensen._run.ahead import bounds
from jensen._run.checkpoint import Checkpoints
from jensen._run.chunk import program
from jensen._run.saved import Saved
from jensen._run.stop import Plateau, diverged
from jensen.core import Algorithm, History, Posterior, PRNGKey, Run, StopCode, StorageError, Streams, stream
from jensen.core.random import BATCH

MAX_RETRIES = 5
WINDOW = 100  # steps between looks of the guard and the plateau rule: fixed, so that chunk length changes nothing


class Outcome(eqx.Module):
    """What a run leaves: the posterior, the record, and the last state (to go on from)."""

    posterior: Posterior
    run: Run
    state: Any
    algorithm: Algorithm


class Work:
    """The moving parts of one run: mutable, of the driver alone."""

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
        streams = isinstance(target, Streams)
        size = min(size, target.feed_length) if streams else size
        until = self._until(self.t, size)
        if streams:
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

    @staticmethod
    def rest(target: Any) -> None:
        """No more chunks: forget the rows that were read ahead for them."""
        if isinstance(target, Streams):
            target.rest()

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
