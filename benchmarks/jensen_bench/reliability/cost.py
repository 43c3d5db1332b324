"""What saving costs, and whether that grows with the length of the run."""

import shutil
import tempfile
import time
from pathlib import Path

import numpy as np

SAVES = 4000
GROUPS = 8


def saves(number: int, dimension: int = 100, rows: int = 100) -> tuple[np.ndarray, np.ndarray, int]:
    """(CPU seconds, bytes written by this process) of each of `number` saves, and the bytes on disk in the end.

    A state of a mean and a covariance in `dimension` coordinates, and `rows` new records of six numbers a save.
    """
    import jax.numpy as jnp

    from jensen._run.checkpoint import Checkpoints

    state = {"mean": jnp.zeros(dimension), "cov": jnp.eye(dimension)}
    block = {f"r{i}": np.random.default_rng(i).normal(size=rows) for i in range(6)}
    seconds, written = np.zeros(number), np.zeros(number)
    with tempfile.TemporaryDirectory() as folder, Checkpoints(Path(folder), {"run": "cost"}) as store:
        records = []
        for i in range(number):
            before, began = _written(), time.process_time()
            store.save({"state": state}, {"t": rows * i}, records)
            seconds[i], written[i] = time.process_time() - began, _written() - before
            records.append(block)
        size = sum(file.stat().st_size for file in Path(folder).iterdir())
        shutil.rmtree(folder, ignore_errors=True)
        Path(folder).mkdir()
    return seconds, written, size


def _written() -> int:
    """Bytes that this process has handed to `write` so far, as Linux counts them."""
    for line in Path("/proc/self/io").read_text().splitlines():
        if line.startswith("wchar:"):
            return int(line.split()[1])
    return 0


def section(short: bool = False) -> str:
    """Medians over eighths of a long run: flat columns mean that nothing grows."""
    number = 80 if short else SAVES
    seconds, written, size = saves(number)
    lines = [
        "### What a save costs",
        "",
        f"{number} saves of a state of 80 kB and 100 new records each; {size / 1e6:.1f} MB on disk in the end.",
        "",
        "| saves | CPU ms a save (median) | kB written a save (median) |",
        "|---|---|---|",
    ]
    for part in np.array_split(np.arange(number), GROUPS):
        ms, kb = 1e3 * np.median(seconds[part]), np.median(written[part]) / 1e3
        lines.append(f"| {part[0]} - {part[-1]} | {ms:.2f} | {kb:.1f} |")
    return "\n".join(lines)
