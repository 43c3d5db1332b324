"""A target whose rows are read from disk while it is fitted."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jensen.core import InputError, Locals, MissingCapability, PRNGKey, Space, Target
from jensen.datasets.sources import RowSource
from jensen.targets.streaming._all_rows import AllRows
from jensen.targets.streaming._feeder import Feeder
from jensen.targets.streaming._order import Words
from jensen.targets.streaming._template import Places, find_places, put, weigh

WINDOW = 2**26  # bytes


class FedRows(eqx.Module):
    """The batches of some steps of a streamed target, in memory: what a compiled chunk is given.

    `columns`: arrays of shape (steps, rows, ...), `weights`: of the rows, `first`: the step of the first batch.
    """

    template: Any
    columns: dict[str, Array]
    weights: Float[Array, "steps rows"]
    first: Int[Array, ""]
    places: Places = eqx.field(static=True)
    num_rows: int = eqx.field(static=True)
    processes: int = eqx.field(static=True, default=1)  # that have parts of the rows

    def fed_at(self, stream: PRNGKey, t: Int[Array, ""]) -> Target:
        """The target through the rows of step t, which must be among those held."""
        i = t - self.first
        rows = put(self.template, self.places, {name: values[i] for name, values in self.columns.items()})
        seen: Any = weigh(rows, self.weights[i], self.num_rows)
        return seen.redraw(jax.random.fold_in(stream, t)) if hasattr(seen, "redraw") else seen


class Streamed(eqx.Module):
    """log p_t(z) = log prior(z) + N / |B_t| sum_{i in B_t} log p(y_i | z), its rows read when step t needs them.

    Data may be larger than memory, which holds at most `memory` bytes of them. It is a noisy target as `Minibatched`
    and `Shuffled` are: `GradientVI`, `IVON`, `SGHMC`, `StochasticCVI` and `AmortisedVI` run on it.

    Order. An epoch is ceil(N / batch_size) steps; its batches differ in length by one row at most (a shorter one is
    filled up with a row of weight zero), so that each row is in exactly one of them. Blocks of the source (row groups,
    record batches, chunks, files; small neighbours in one file are one block, of 4,096 rows and a 64th of a window at
    most) stand in random order, the circle that they make is entered at a random row, windows of `window` bytes are cut
    from it, and rows are shuffled uniformly within a window. So each row is in batch t with
    probability |B_t| / N, and log p_t is an unbiased estimate of log p at each step. It is no uniform permutation
    unless all rows fit into one window: rows stored together are seen within the same one or two windows. Where files
    are sorted by something that matters, make blocks small against a window, or shuffle once when writing. Everything
    is a function of the run's key and of t: a resumed run goes on bit for bit.

    Targets whose rows have latents of their own (`Locals`) see batches of floor(N / steps) rows, at most one row of
    each step being left out of an epoch.

    `process=(number, count)` makes the share of one process: it reads its own shards only (whole files where there are
    enough, else blocks), and its batches hold its share of each step, weighted so that the log likelihoods of all
    shares add up to an unbiased estimate; they are filled up with rows of weight zero to what its devices share equally
    (rows with latents of their own: cut down to it). With `process=(jax.process_index(), jax.process_count())` in each
    process, `run(mesh=)` over all their devices puts the shares of a step together, and sums what passes over them
    find. A run on one share alone would be of a part of the data, and is refused.

    Certificates are computed on `exact`: one pass over all rows for all the draws of a check.

    Args:
        make: `make(rows) -> target`, where rows are a dict of arrays with a leading axis, the columns of the source:
            for example `lambda rows: from_rows(log_prior, log_likelihood, rows, example)`, or `from_numpyro` of a model
            with one plate, of the rows that it is given. It must hand the columns on as they are.
        source: `jensen.datasets.open_rows(...)`, `generate_rows` or `join_rows`.
        batch_size: rows a step, at most.
        window: bytes of rows that are shuffled together, and that are handed to the device at a time.
        process: (number of this process, how many share the data).

    Raises:
        InputError: for a batch_size that is not in 1 .. N, rows that are not finite, shards too few for the processes,
            or a `make` that does more with rows than hand them on.
        MissingCapability: if the target has no rows; by `exact` and in runs, if it is a share that is missing others.

    Source: random reshuffling: Mishchenko, Khaled and Richtarik (2020); of blocks and within a buffer: Xu et al.
    (2022), Stochastic gradient descent without full data shuffle.
    """

    template: Any  # of the rows that all processes see in a step
    own: Any  # of those of one
    places: Places = eqx.field(static=True)
    feeder: Feeder = eqx.field(static=True)
    batch_size: int = eqx.field(static=True)
    weights: Float[Array, " rows"]
    mark: Array  # of the data and how they are read, for the checkpoint to know them by

    def __init__(
        self,
        make: Any,
        source: Any,
        batch_size: Any,
        window: int = WINDOW,
        process: tuple[int, int] = (0, 1),
    ):
        if not callable(make):
            raise InputError(
                f"make must be a function of a dict of rows that gives a target, got {type(make).__name__}"
            )
        if not isinstance(source, RowSource):
            raise InputError(
                f"source must be made by jensen.datasets.open_rows, generate_rows or join_rows, got "
                f"{type(source).__name__}"
            )
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or not 1 <= batch_size <= source.num_rows:
            raise InputError(f"batch_size must lie between 1 and {source.num_rows} rows, got {batch_size!r}")
        if not 0 <= process[0] < process[1]:
            raise InputError(f"process must be (number, count) with 0 <= number < count, got {process}")
        if window < 1:
            raise InputError(f"window must be a positive number of bytes, got {window}")
        self.feeder = Feeder(source, batch_size, window, process)
        self.own, self.places, self.weights = self._form(make, source, 1)
        if isinstance(self.own, Locals):
            whole = Feeder(source, batch_size, window, process, whole=True)
            if whole.rows != self.feeder.rows:
                self.feeder = whole
                self.own, self.places, self.weights = self._form(make, source, 1)
            self.feeder = whole
        self.template = self.own
        if process[1] > 1:
            self.template, self.places, self.weights = self._form(make, source, process[1])
        self.batch_size = batch_size
        words = f"{source.mark}/{batch_size}/{window}/{process[1]}"
        self.mark = jnp.asarray(np.frombuffer(words.encode(), np.uint8))

    def _form(self, make: Any, source: RowSource, times: int) -> tuple[Any, Places, Array]:
        """The target of the first process's rows, `times` over, in every process the same."""
        feeder = self.feeder.of_first()
        looks = [feeder.batches((seed,), 0, 1, 1) for seed in (1, 2)]
        first, second = ({name: _times(v[0], times) for name, v in columns.items()} for columns, _ in looks)
        weights = source.num_rows / (feeder.order.rows * times) * _times(looks[0][1][0], times)
        return *find_places(make, first, second, source.num_rows), jnp.asarray(weights, jnp.result_type(float))

    @property
    def exact(self) -> AllRows:
        """All rows, whose log density takes a pass over the data: of each process over its own."""
        self._check_whole()
        exact: Any = AllRows
        return exact(self.own, self.places, self.feeder)

    @property
    def first(self) -> Target:
        """The target through some rows: what a run is begun with."""
        self._check_whole()
        return weigh(self.template, self.weights, self.num_rows)

    def _check_whole(self) -> None:
        if self.feeder.processes not in (1, jax.process_count()):
            raise MissingCapability(
                f"This is the share of process {self.feeder.process} of {self.feeder.processes}, its posterior is not "
                f"that of the data, and there are {jax.process_count()} processes (jax.distributed) to put the shares "
                "together: make the target without process=, or add the shares of `realise_at` up yourself"
            )

    @property
    def space(self) -> Space:
        """Of the exact target."""
        return self.template.space

    @property
    def num_rows(self) -> int:
        """N."""
        return self.feeder.source.num_rows

    @property
    def epoch(self) -> int:
        """Steps of an epoch."""
        return self.feeder.steps

    @property
    def memory(self) -> int:
        """Bytes of rows in memory at most, on host and device together."""
        return self.feeder.memory

    @property
    def processes(self) -> int:
        """That share the rows."""
        return self.feeder.processes

    @property
    def step_rows(self) -> int:
        """Rows of a batch over all processes, those that only fill up included."""
        return self.feeder.rows * self.feeder.processes

    @property
    def feed_length(self) -> int:
        """Steps of which batches are handed over at a time, at most."""
        return self.feeder.feed_length

    def feed(self, stream: PRNGKey, t: int, until: int, size: int, then: int = 0) -> FedRows:
        """The batches of steps t .. until - 1 in arrays of `size`; those of the `then` steps after are read meanwhile.

        Raises `InputError` for rows that are NaN, infinite, or can no longer be read.
        """
        return self._fed(self.template, self.processes, stream, t, until - t, size, then)

    def _fed(self, template: Any, parts: int, stream: PRNGKey, t: int, count: int, size: int, then: int = 0) -> FedRows:
        columns, weights = self.feeder.batches(_words(stream), t, count, size, then)
        first = jnp.asarray(t, jnp.int32)
        held = {name: jnp.asarray(values) for name, values in columns.items()}
        weights = jnp.asarray(weights, jnp.result_type(float))
        return FedRows(template, held, weights, first, self.places, self.num_rows, parts)

    def rest(self) -> None:
        """Forget the batches that were read ahead: the run is over."""
        self.feeder.rest()

    def realise(self, key: PRNGKey) -> Target:
        """The first batch of an order drawn with the key. Not to be traced."""
        return self.realise_at(key, jnp.zeros((), jnp.int32))

    def realise_at(self, stream: PRNGKey, t: int | Int[Array, ""]) -> Target:
        """The target through this process's rows of step t. Not to be traced: a run is given `feed`."""
        return self._fed(self.own, 1, stream, int(t), 1, 1).fed_at(stream, jnp.asarray(int(t), jnp.int32))


def _times(rows: np.ndarray, number: int) -> np.ndarray:
    return rows if number == 1 else np.concatenate([rows] * number)


def _words(stream: PRNGKey) -> Words:
    return tuple(int(word) for word in np.asarray(jax.random.key_data(stream)).ravel())
