"""Reads batches ahead of a run, from a source's blocks, in a bounded memory."""

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from jensen.core import InputError
from jensen.datasets.sources import Column, RowSource
from jensen.targets.streaming._order import EpochOrder, Words
from jensen.targets.streaming._windows import Windows

Batches = tuple[dict[str, np.ndarray], np.ndarray]  # columns and weights of the rows, leading axes (batches, rows)
JOINED = 4096  # rows of neighbouring small blocks that are read at once: opening a file costs as much as decoding these
JOINS = 64  # such reads a window at least, so that it mixes rows from as many places
Request = tuple[Words, int, int, int]  # of which stream, from which step, how many, of how many places


class Feeder:
    """Batches of one process: of step t, whichever is asked for; the next ones are read by a thread meanwhile.

    In memory are at most two windows (or all rows, where they take no more), one block and its decoded form, and three
    feeds of a window's size: the one in use, its copy on the device, and the one read ahead. Small blocks that are
    neighbours are taken for one, of `JOINED` rows and a `JOINS`-th of a window at most.
    """

    def __init__(
        self, source: RowSource, batch_size: int, window_bytes: int, process: tuple[int, int], whole: bool = False
    ):
        """`whole`: batches of equal length, so that up to one row of each is left out of an epoch."""
        self.source, (self.process, self.processes) = source, process
        self._settings = batch_size, window_bytes, whole
        shares = _shares(source, self.processes)
        row_bytes = max(1, source.row_bytes)
        joined = min(JOINED, window_bytes // JOINS // row_bytes)
        runs = source.runs(shares[self.process], joined)
        sizes = tuple(sum(source.blocks[first : first + count]) for first, count in runs)
        steps = -(-source.num_rows // batch_size)
        counts = [sum(source.blocks[b] for b in share) for share in shares]
        if min(counts) < steps:
            raise InputError(
                f"Process {int(np.argmin(counts))} of {self.processes} has {min(counts)} rows in its shards, too few "
                f"for {steps} steps an epoch: write more, smaller shards, or take a larger batch_size"
            )
        longest = max(-(-count // steps) for count in counts)
        # places of a batch, the same in each process, whose devices share them equally
        devices = jax.device_count() // jax.process_count() if self.processes > 1 else 1
        self.rows = min(counts) // steps // devices * devices if whole else -(-longest // devices) * devices
        if not self.rows:
            raise InputError(
                f"Batches of {min(counts) // steps} rows a process cannot be shared by its {devices} devices: take a "
                "larger batch_size"
            )
        window = max(1, min(steps, window_bytes // (row_bytes * self.rows)))
        self.order = EpochOrder(sizes, steps, window, self.process)
        self.feed_length = window  # batches of a feed are as much memory as those of a window
        self.columns = {name: Column(_canonical(c.dtype), c.shape) for name, c in source.columns.items()}
        self._windows = Windows(source, runs, self.order, self.columns)
        self._thread: ThreadPoolExecutor | None = None
        self._ahead: tuple[Request, Future[Batches]] | None = None

    @property
    def steps(self) -> int:
        """Of an epoch."""
        return self.order.steps

    @property
    def memory(self) -> int:
        """Bytes that are held at most, the largest block as it is decoded and its copy included."""
        window = self._windows.width * self.rows * self.order.window
        return 5 * window + 2 * max(self._windows.width, self.source.row_bytes) * max(self.order.sizes)

    def batches(self, words: Words, first: int, count: int, size: int, then: int = 0) -> Batches:
        """Batches of the steps first .. first + count - 1 in arrays of `size`; `then`: how many will be asked for next.

        Raises `InputError` for rows that are not finite or cannot be read.
        """
        request = (words, first, count, size)
        if self._ahead is not None and self._ahead[0] == request:
            future = self._ahead[1]
        else:
            self.rest()
            future = self._submit(request)
        self._ahead = None
        got = future.result()
        if then:
            follow = (words, first + count, then, size)
            self._ahead = follow, self._submit(follow)
        return got

    def of_first(self) -> "Feeder":
        """What the first process reads: rows that all processes can look at alike."""
        if self.process == 0:
            return self
        batch_size, window_bytes, whole = self._settings
        return Feeder(self.source, batch_size, window_bytes, (0, self.processes), whole)

    def rest(self) -> None:
        """Forget what was read ahead."""
        if self._ahead is not None:
            self._ahead[1].cancel()
            self._ahead = None

    def _submit(self, request: Request) -> Future[Batches]:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "jensen-rows")
        return self._thread.submit(self._make, *request)

    def _make(self, words: Words, first: int, count: int, size: int) -> Batches:
        columns = {name: np.zeros((size, self.rows, *c.shape), c.dtype) for name, c in self.columns.items()}
        weights = np.zeros((size, self.rows))
        order = self.order
        for k in range(count):
            epoch, step = divmod(first + k, order.steps)
            window = step // order.window
            low = order.place(step) - order.span(window)[0]
            held = min(order.place(step + 1) - order.place(step), self.rows)
            for name, values in self._windows.take(words, epoch, window, low, low + held).items():
                columns[name][k, :held] = values
                columns[name][k, held:] = values[0]  # a real row, so that nothing undefined is computed
            weights[k, :held] = order.rows / held
        return columns, weights

    def sweep(self, size: int) -> Any:
        """All rows of this process in the order of storage, as batches in arrays of `size`: for one exact pass.

        Weights are one, and zero where the end is filled up.
        """
        columns = {name: np.zeros((size * self.rows, *c.shape), c.dtype) for name, c in self.columns.items()}
        weights, at = np.zeros(size * self.rows), 0
        for i, held in enumerate(self.order.sizes):
            done = 0
            while done < held:
                take = min(held - done, len(weights) - at)
                for name, values in self._windows.part(i, done, done + take).items():
                    columns[name][at : at + take] = values
                weights[at : at + take] = 1.0
                at, done = at + take, done + take
                if at == len(weights):
                    yield self._shaped(columns, weights, size)
                    weights, at = np.zeros(size * self.rows), 0
                    columns = {name: np.zeros_like(values) for name, values in columns.items()}
        if at:
            for values in columns.values():
                values[at:] = values[0]
            yield self._shaped(columns, weights, size)

    def _shaped(self, columns: dict[str, np.ndarray], weights: np.ndarray, size: int) -> Batches:
        shaped = {name: values.reshape(size, self.rows, *values.shape[1:]) for name, values in columns.items()}
        return shaped, weights.reshape(size, self.rows)


def _canonical(dtype: np.dtype) -> np.dtype:
    """What JAX holds values of a dtype in: real numbers at the run's precision."""
    wanted = np.dtype(float) if dtype.kind == "f" else dtype
    return np.dtype(jax.dtypes.canonicalize_dtype(wanted))


def _shares(source: RowSource, processes: int) -> list[list[int]]:
    """The blocks of each process: whole shards, the largest first to whoever has least; blocks where shards are few."""
    units = source.units if len(set(source.units)) >= processes else tuple(range(len(source.blocks)))
    sizes: dict[int, int] = {}
    for unit, rows in zip(units, source.blocks, strict=True):
        sizes[unit] = sizes.get(unit, 0) + rows
    if len(sizes) < processes:
        raise InputError(
            f"{processes} processes want as many shards or blocks, and the data have {len(sizes)}: write them in more, "
            "smaller ones"
        )
    owner, load = {}, [0] * processes
    for unit, rows in sorted(sizes.items(), key=lambda pair: (-pair[1], pair[0])):
        least = load.index(min(load))
        owner[unit], load[least] = least, load[least] + rows
    return [[b for b, unit in enumerate(units) if owner[unit] == p] for p in range(processes)]
