"""Does a posterior of data larger than memory come out right, in how much memory, and what feeds a chunk best?

A logistic regression of `--rows` rows of 50 numbers in single precision (100 million rows are 20 GB): the first
`--disk-rows` lie in Parquet files, the others are computed from their row numbers when they are read. One epoch of IVON
from minibatches, from the Gaussian at the mode of some thousand rows on; then the mode of all rows by Newton's method
(a pass a step), and a certificate of the Gaussian there by one more pass. Resident memory is sampled as rows are read.
Printed: peak memory, seconds and processor seconds of each stage, the certificate, the distance of the epoch's mean to
the mode, and of both to the coefficients that made the data, in posterior standard deviations.
`--figure FILE` draws memory over rows.

`--feeding` compares instead how a compiled chunk can be given its batches: as an argument, read ahead by a thread (what
the library does), or asked for by `jax.experimental.io_callback` from inside the loop.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

COLUMNS, BLOCK, BATCH = 50, 65_536, 16_384
SEED = 2026


def coefficients() -> np.ndarray:
    """What the labels are drawn with."""
    return (np.random.default_rng(SEED).normal(size=COLUMNS) * 0.2).astype(np.float32)


def rows(low: int, high: int) -> dict[str, np.ndarray]:
    """Rows low .. high - 1: a counter-based generator is set to the number of their block."""
    block, begin = divmod(low, BLOCK)
    assert high <= (block + 1) * BLOCK
    bits = np.random.Generator(np.random.Philox(key=SEED, counter=[0, 0, 0, block]))
    # of variance one; drawn from the block's beginning, so that a part of it has the rows that the whole has
    x = (bits.random((high - block * BLOCK, COLUMNS + 1), np.float32) - np.float32(0.5)) * np.float32(12**0.5)
    x = x[begin:]
    chance = x[:, -1] / np.float32(12**0.5) + np.float32(0.5)
    y = chance < 1 / (1 + np.exp(-x[:, :-1] @ coefficients()))
    return {"x": x[:, :-1], "y": y}


def write(folder: Path, count: int, shard: int = 16 * BLOCK) -> None:
    """The first rows as Parquet files, a row group a block."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for i, begin in enumerate(range(0, count, shard)):
        with pq.ParquetWriter(folder / f"{i:05d}.parquet", _schema(), compression="none", use_dictionary=False) as file:
            for low in range(begin, min(begin + shard, count), BLOCK):
                part = rows(low, min(low + BLOCK, count))
                x = pa.FixedSizeListArray.from_arrays(pa.array(part["x"].ravel()), COLUMNS)
                file.write_table(pa.table({"x": x, "y": part["y"]}, _schema()))


def _schema() -> Any:
    import pyarrow as pa

    return pa.schema({"x": pa.list_(pa.float32(), COLUMNS), "y": pa.bool_()})


class Memory(threading.Thread):
    """Resident bytes of this process over the rows that were read, sampled ten times a second."""

    def __init__(self, source: Any):
        super().__init__(daemon=True)
        self.source, self.samples, self.done = source, [], threading.Event()

    def run(self) -> None:
        """Sample until done."""
        while not self.done.wait(0.1):
            self.samples.append((self.source.count, resident()))


def resident() -> int:
    """Resident bytes of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def counted(source: Any) -> Any:
    """The source, counting the rows that are read from it."""
    source.count, inner = 0, source._read

    def read(block: int, count: int, low: int, high: int) -> dict[str, np.ndarray]:
        source.count += high - low
        return inner(block, count, low, high)

    source._read = read
    return source


def log_prior(beta: Any) -> Any:
    """N(0, 1) each."""
    return -0.5 * (beta**2).sum()


def log_likelihood(beta: Any, rows: Any) -> Any:
    """Bernoulli with the logistic link."""
    import jax

    logits = rows["x"] @ beta
    return rows["y"] * logits - jax.nn.softplus(logits)


def target_of(source: Any, batch_size: int) -> Any:
    """The streamed target."""
    import jax.numpy as jnp

    import jensen as jn

    zero = jnp.zeros(COLUMNS)
    make = lambda rows: jn.targets.from_rows(log_prior, log_likelihood, rows, zero)  # noqa: E731
    return jn.targets.Streamed(make, source, batch_size)


def newton(exact: Any, z: np.ndarray, passes: int) -> tuple[np.ndarray, np.ndarray]:
    """(mode, precision there) of all rows by Newton's method, a pass a step."""
    hessian = -np.eye(len(z))
    for _ in range(passes):
        _, gradient, hessian = (part[0] for part in exact.curvatures(z[None].astype(np.float32)))
        z = z.astype(np.float32) - np.linalg.solve(hessian, gradient)
    return z, -hessian


class Stages:
    """Notes seconds, processor seconds and rows read of each stage, and says so as it goes."""

    def __init__(self, out: dict[str, Any], source: Any):
        self.out, self.source, self.last = out, source, (time.perf_counter(), time.process_time(), 0)

    def __call__(self, name: str) -> None:
        """A stage is over."""
        now = time.perf_counter(), time.process_time(), self.source.count
        wall, cpu, rows = (a - b for a, b in zip(now, self.last, strict=True))
        self.last = now
        self.out[name] = {"s": round(wall, 1), "cpu_s": round(cpu, 1), "rows_read": rows}
        print(json.dumps({"resident_MB": resident() / 1e6} | self.out), file=sys.stderr, flush=True)


def fit(arguments: argparse.Namespace) -> dict[str, Any]:
    """One epoch, the certificate, and the truth."""
    import jax
    import jax.numpy as jnp

    import jensen as jn
    from jensen.certificate.modes import climb
    from jensen.core import DensityPosterior
    from jensen.datasets import generate_rows, join_rows, open_rows
    from jensen.families import gaussian_from_cov

    folder = Path(tempfile.mkdtemp(prefix="jensen-streaming-", dir=arguments.folder))
    watch = None
    try:
        on_disk = min(arguments.disk_rows, arguments.rows) // BLOCK * BLOCK
        parts, skip = [], on_disk
        if on_disk:
            write(folder, on_disk)
            parts.append(open_rows(folder))
        if arguments.rows > on_disk:
            parts.append(generate_rows(lambda a, b: rows(a + skip, b + skip), arguments.rows - on_disk, BLOCK))
        source = counted(join_rows(*parts))
        watch = Memory(source)
        watch.start()
        out: dict[str, Any] = {
            "rows": arguments.rows,
            "data_GB": arguments.rows * source.row_bytes / 1e9,
            "on_disk_GB": on_disk * source.row_bytes / 1e9,
        }
        stage = Stages(out, source)
        target = target_of(source, arguments.batch_size)
        out |= {"steps": target.epoch, "bound_on_rows_in_memory_MB": target.memory / 1e6}
        found = climb(target.exact.some, jnp.zeros((1, COLUMNS)))
        first = gaussian_from_cov(found.z[0], jnp.linalg.inv(-found.hessian[0]))
        start = DensityPosterior(target.space, first)
        stage("start")
        algorithm = jn.algorithms.IVON(learning_rate=0.02, initial_curvature=0.2, settling=0.9)
        seen = jn.run(algorithm, target, key=jax.random.key(0), steps=target.epoch, start=start, certify=False)
        (ran,) = seen.runs
        out |= {"steps_taken": ran.steps, "stop": ran.stop.name, "notes": list(ran.notes)}
        stage("epoch")
        mean, cov = (np.asarray(part, float) for part in seen.posterior.mean_and_cov())
        truth, sd = coefficients(), np.sqrt(np.diag(cov))
        out["rms_distance_of_epoch_to_truth_in_its_sd"] = float(np.sqrt(np.mean(((mean - truth) / sd) ** 2)))
        mode, precision = mean, np.linalg.inv(cov)
        if arguments.newton:
            mode, precision = newton(target.exact, mean, arguments.newton)
            sd = np.sqrt(np.diag(np.linalg.inv(precision)))
            ratios = np.sqrt(np.diag(cov)) / sd
            out["largest_distance_of_epoch_to_mode_in_sd"] = float(np.max(np.abs(mean - mode) / sd))
            out["spread_of_epoch_over_that_at_mode"] = [float(np.min(ratios)), float(np.max(ratios))]
            out["rms_distance_of_mode_to_truth_in_sd"] = float(np.sqrt(np.mean(((mode - truth) / sd) ** 2)))
        stage("mode")
        if arguments.draws:
            polished = gaussian_from_cov(
                jnp.asarray(mode, jnp.float32), jnp.asarray(np.linalg.inv(precision), jnp.float32)
            )
            posterior = DensityPosterior(target.space, polished)
            certificate = jn.certify(posterior, target.exact, jax.random.key(1), num_draws=arguments.draws)
            out["certificate_of_the_mode"] = str(certificate).splitlines()
            stage("certificate")
        watch.done.set()
        watch.join()
        out["peak_resident_MB"] = max(bytes_ for _, bytes_ in watch.samples) / 1e6
        out["resident_at_tenths_MB"] = _tenths(watch.samples)
        if arguments.figure:
            draw(watch.samples, out, Path(arguments.figure))
        return out
    finally:
        if watch is not None:
            watch.done.set()
        shutil.rmtree(folder)


def _tenths(samples: list[tuple[int, int]]) -> list[float]:
    """The largest resident memory in each tenth of the rows read, in MB."""
    counts, sizes = (np.asarray(part) for part in zip(*samples, strict=True))
    edges = np.minimum(counts * 10 // (counts[-1] + 1), 9)
    return [round(float(sizes[edges == i].max()) / 1e6, 1) for i in range(10) if np.any(edges == i)]


def draw(samples: list[tuple[int, int]], out: dict[str, Any], path: Path) -> None:
    """Resident memory over rows read, beside the size of the data."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    counts, sizes = (np.asarray(part) for part in zip(*samples, strict=True))
    figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
    axes.plot(counts / 1e6, sizes / 1e9)
    axes.axhline(2.0, linestyle=":", color="black")
    axes.annotate("2 GB", (0.0, 2.03))
    at = 0.0
    for name in ("start", "epoch", "mode", "certificate"):
        if name in out:
            axes.axvline(at, color="grey", linewidth=0.6)
            height = 0.08 if name != "start" else 0.4  # a sliver, whose name would lie over the next one
            axes.annotate(f" {name}", (at, height), rotation=90 if name == "start" else 0)
            at += out[name]["rows_read"] / 1e6
    axes.set(xlabel="million rows read", ylabel="resident memory in GB", ylim=(0, 2.3))
    axes.set_title(f"{out['rows'] / 1e6:g} million rows, {out['data_GB']:.1f} GB")
    figure.savefig(path, dpi=150)


def feeding(arguments: argparse.Namespace) -> dict[str, Any]:
    """Processor and wall seconds of the same steps, fed by arguments and by callbacks."""
    import jax
    import jax.numpy as jnp
    from jax.experimental import io_callback

    import jensen as jn
    from jensen._run.chunk import one_step
    from jensen._run.driver import drive
    from jensen.core import Clock, at_step, stream
    from jensen.core.random import BATCH as BATCHES
    from jensen.core.random import STEP
    from jensen.datasets import generate_rows

    steps, key, algorithm = 200, jax.random.key(0), jn.algorithms.GradientVI()
    target = target_of(generate_rows(rows, 64 * BLOCK, BLOCK), arguments.batch_size)
    state = drive(algorithm, target, key=key, steps=1).state
    shapes = jax.eval_shape(lambda: target.feed(stream(key, BATCHES), 0, 1, 1))

    @jax.jit
    def asked(leaves: Any, key: Any) -> Any:
        """The loop that asks the host for each batch."""

        def body(t: Any, leaves: Any) -> Any:
            held = io_callback(fetch, jax.tree.map(lambda s: s, shapes), t, ordered=True)
            now = jax.tree.unflatten(tree, leaves)
            seen = held.fed_at(stream(key, BATCHES), t)
            new, _ = one_step(algorithm, at_step(stream(key, STEP), t), now, seen, Clock(t, jnp.asarray(steps)))
            return jax.tree.leaves(new)

        return jax.lax.fori_loop(0, steps, body, leaves)

    leaves, tree = jax.tree.flatten(state)

    def fetch(t: Any) -> Any:
        return target.feed(stream(key, BATCHES), int(t), int(t) + 1, 1)

    def timed(run: Any) -> list[float]:
        best = []
        for _ in range(3):
            wall, cpu = time.perf_counter(), time.process_time()
            jax.block_until_ready(run())
            best.append((time.perf_counter() - wall, time.process_time() - cpu))
        return [round(value, 3) for value in min(best[1:])]

    out: dict[str, Any] = {"steps": steps, "batch": arguments.batch_size}
    out["argument_wall_cpu_s"] = timed(lambda: jax.tree.leaves(drive(algorithm, target, key=key, steps=steps).state))
    out["callback_wall_cpu_s"] = timed(lambda: asked(leaves, key))
    return out


def main(arguments: Sequence[str] = ()) -> int:
    """Run the benchmark and print it as JSON."""
    parser = argparse.ArgumentParser("streaming", description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--disk-rows", type=int, default=1_000_000)
    parser.add_argument("--batch-size", type=int, default=BATCH)
    parser.add_argument("--draws", type=int, default=500, help="of the certificate; 0 for none")
    parser.add_argument("--newton", type=int, default=2, help="passes from the epoch's mean to the mode")
    parser.add_argument("--folder", default=None, help="where the files are written; the system's place if not given")
    parser.add_argument("--figure", default=None)
    parser.add_argument("--feeding", action="store_true", help="compare ways to give a chunk its batches")
    parsed = parser.parse_args(list(arguments))
    out = feeding(parsed) if parsed.feeding else fit(parsed)
    print(json.dumps(out, indent=1, default=float))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
