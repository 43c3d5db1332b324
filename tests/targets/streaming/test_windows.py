"""Small blocks read together and rows that are kept: fewer reads, the same rows, no more memory."""

import tracemalloc

import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jensen.datasets import generate_rows, join_rows, open_rows
from jensen.targets import Streamed, from_rows
from jensen.targets.streaming._feeder import JOINED, JOINS, Feeder

N = 6000
X = np.random.default_rng(0).normal(size=(N, 3))
WORDS = (1, 2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two files in row groups of 50 rows of 24 bytes."""
    path = tmp_path_factory.mktemp("rows")
    for i in range(2):
        part = X[i * N // 2 : (i + 1) * N // 2]
        pq.write_table(pa.table({f"x{j}": part[:, j] for j in range(3)}), path / f"{i}.parquet", row_group_size=50)
    return path


def opened(folder):
    return open_rows(folder, columns={"x": ["x0", "x1", "x2"]})


def counted(source):
    """The source, and a list that takes down the shape of each read of its files."""
    reads, real = [], type(source)._read

    def read(block, count, low, high):
        reads.append((block, count, high - low))
        return real(source, block, count, low, high)

    source._read = read
    return source, reads


def epoch(feeder, number, size=5):
    """Rows of an epoch without those that fill up, shape (N, 3)."""
    out = []
    for step in range(0, feeder.steps, size):
        count = min(size, feeder.steps - step)
        then = min(size, feeder.steps - step - count)
        columns, weights = feeder.batches(WORDS, number * feeder.steps + step, count, size, then)
        out += [columns["x"][k][weights[k] > 0] for k in range(count)]
    feeder.rest()
    return np.concatenate(out)


def same_rows(a, b):
    return np.array_equal(a[np.lexsort(a.T)], b[np.lexsort(b.T)])


@pytest.mark.parametrize(
    ("window", "joined"),
    [(24 * 50 * JOINS * 4, 200), (24 * 50 * JOINS, 50), (24 * 100, 50), (2**26, 3000)],
)
def test_neighbours_are_one_block_of_the_order_within_a_share_of_the_window(folder, window, joined):
    source, reads = counted(opened(folder))
    feeder = Feeder(source, 64, window, (0, 1))
    assert max(feeder.order.sizes) == joined <= max(50, min(JOINED, window // JOINS // 24))
    assert len(feeder.order.sizes) == N // joined
    assert same_rows(epoch(feeder, 0), X)
    assert {count for _, count, _ in reads} == {joined // 50}


def test_rows_that_fit_are_read_once_for_all_epochs_and_passes(folder):
    source, reads = counted(opened(folder))
    feeder = Feeder(source, 64, N * 24, (0, 1))
    first, second = epoch(feeder, 0), epoch(feeder, 1)
    passed = np.concatenate([c["x"].reshape(-1, 3)[w.ravel() > 0] for c, w in feeder.sweep(4)])
    assert same_rows(first, X)
    assert same_rows(second, X)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(passed, X)
    assert sum(rows for _, _, rows in reads) == N


def test_rows_that_do_not_fit_are_read_again(folder):
    source, reads = counted(opened(folder))
    feeder = Feeder(source, 64, N * 24 // 3, (0, 1))
    assert same_rows(epoch(feeder, 0), X)
    assert same_rows(epoch(feeder, 1), X)
    assert sum(rows for _, _, rows in reads) == 2 * N


@pytest.mark.parametrize("window", [N * 24, N * 24 * 4 // 5])
def test_kept_rows_come_in_the_same_order(folder, window):
    """One window for all of them, and two."""
    kept, read = (Feeder(opened(folder), 64, window, (0, 1)) for _ in range(2))
    assert kept._windows.fits
    read._windows.fits = False
    for number in range(2):
        np.testing.assert_array_equal(epoch(kept, number), epoch(read, number))
    for (a, v), (b, w) in zip(kept.sweep(3), read.sweep(3), strict=True):
        np.testing.assert_array_equal(a["x"], b["x"])
        np.testing.assert_array_equal(v, w)


def test_processes_keep_their_own_rows_alone(folder):
    parts = [Feeder(opened(folder), 64, N * 24, (p, 2)) for p in range(2)]
    rows = [epoch(part, 0) for part in parts]
    assert same_rows(np.concatenate(rows), X)
    for p, part in enumerate(parts):
        assert same_rows(rows[p], X[p * N // 2 : (p + 1) * N // 2])
        assert part._windows._all is not None
        assert len(part._windows._all["x"]) == N // 2


def test_blocks_of_a_function_stay_as_they_are(folder):
    made = generate_rows(lambda low, high: {"x": X[low:high]}, N, block=10)
    feeder = Feeder(join_rows(opened(folder), made), 64, 2**26, (0, 1))
    assert feeder.order.sizes == (3000, 3000, *[10] * 600)


@pytest.mark.parametrize("window", [N * 24, N * 24 * 4 // 5, N * 24 // 3])
def test_memory_is_what_is_said_whether_rows_are_kept_or_not(folder, window):
    """Peak of NumPy's arrays over two epochs and a pass, against `memory`."""
    epoch(Feeder(opened(folder), 64, window, (0, 1)), 0)
    source = opened(folder)
    tracemalloc.start()
    feeder = Feeder(source, 64, window, (0, 1))
    for number in range(2):
        for step in range(0, feeder.steps, feeder.feed_length):
            count = min(feeder.feed_length, feeder.steps - step)
            feeder.batches(WORDS, number * feeder.steps + step, count, feeder.feed_length, count)
    feeder.rest()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < feeder.memory + 300_000  # Python's own objects, footers, numbers of rows that are being shuffled


def test_a_pass_over_few_rows_is_not_filled_up_beyond_its_last_batch():
    """As many batches as the rows make: filled up to megabytes, a page of the docs took 20 times as long."""
    target = Streamed(
        lambda rows: from_rows(lambda b: -0.5 * b**2, lambda b, rows: -((rows["x"] - b) ** 2), rows, jnp.zeros(())),
        generate_rows(lambda low, high: {"x": np.arange(low, high, dtype=float)}, 95, 40),
        10,
    )
    feeder, sizes = target.exact.feeder, []
    real = type(feeder).sweep

    class Seen(type(feeder)):
        def sweep(self, size):
            sizes.append(size)
            return real(self, size)

    feeder.__class__ = Seen
    value = target.exact.log_densities(jnp.array([[2.0]]))
    assert sizes == [10]
    np.testing.assert_allclose(value, [-0.5 * 4 - np.sum((np.arange(95) - 2.0) ** 2)], rtol=1e-12)
