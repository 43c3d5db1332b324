"""Flipped bits, cuts and empty files: does a run that goes on from a damaged checkpoint ever give other numbers?

Each trial changes one file of a real checkpoint of a real run, then resumes it. What must come out: the bits of the run
that nothing disturbed, and words on the damage; or one error where no copy is whole. Silence with other numbers is what
must never be seen. Orbax, the usual library, stands beside it where it is installed: same trials, its own files.
"""

import random
import shutil
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

TRIALS = 60

KINDS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "one bit": lambda data, rng: _with(data, rng.randrange(len(data)), 1 << rng.randrange(8)),
    "one byte": lambda data, rng: _with(data, rng.randrange(len(data)), rng.randrange(1, 256)),
    "cut short": lambda data, rng: data[: rng.randrange(len(data))],
    "emptied": lambda data, rng: b"",
    "zeros": lambda data, rng: bytes(len(data)),
}


def _with(data: bytes, at: int, mask: int) -> bytes:
    changed = bytearray(data)
    changed[at] ^= mask
    return bytes(changed)


def _changes(files: list[Path], trials: int, seed: int) -> Iterator[tuple[str, Path, bytes]]:
    """(kind, file, its changed content), the kinds in turn, files at random but for empty ones."""
    rng = random.Random(seed)
    files = [file for file in files if file.stat().st_size]
    for i in range(trials):
        kind, file = list(KINDS)[i % len(KINDS)], rng.choice(files)
        data = file.read_bytes()
        changed = KINDS[kind](data, rng)
        if changed != data:
            yield kind, file, changed


def ours(trials: int, seed: int = 0) -> dict[str, Counter[str]]:
    """Outcomes by kind of damage, to any one file of a run that was stopped in its middle."""
    from jensen_bench.reliability.cases import CASES, digest

    class Stopped(Exception):
        pass

    from jensen._run.checkpoint import Checkpoints

    go, write, done = CASES["BatchMatch"].go, Checkpoints.save, []

    def save(self: Any, trees: dict[str, Any], meta: dict[str, Any], records: Any) -> None:
        write(self, trees, meta, records)
        done.append(1)
        if len(done) == 12:
            raise Stopped

    outcomes = {kind: Counter() for kind in KINDS}
    want = digest(go(None))
    with tempfile.TemporaryDirectory() as folder:
        whole, place = Path(folder) / "whole", Path(folder) / "place"
        Checkpoints.save = save
        try:
            go(whole)
        except Stopped:
            pass
        finally:
            Checkpoints.save = write
        files = [file for file in whole.iterdir() if file.name != "lock"]
        for kind, file, changed in _changes(files, trials, seed):
            shutil.rmtree(place, ignore_errors=True)
            shutil.copytree(whole, place)
            (place / file.name).write_bytes(changed)
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                result = go(place)
            notes = [note for note in result.run.notes if "fell back" in note]
            said = bool(notes) and any("fell back" in str(w.message) for w in told)
            same = digest_without_notes(result, notes, digest) == want
            outcomes[kind][f"{'same bits' if same else 'OTHER NUMBERS'}, {'said so' if said else 'in silence'}"] += 1
    return outcomes


def digest_without_notes(result: Any, notes: list[str], digest: Callable[[Any], str]) -> str:
    """The digest of an outcome as if it had not had to tell of the damage."""
    import dataclasses

    kept = tuple(note for note in result.run.notes if note not in notes)
    return digest(dataclasses.replace(result, run=dataclasses.replace(result.run, notes=kept)))


def orbax(trials: int, seed: int = 0) -> dict[str, Counter[str]] | None:
    """The same for a checkpoint of two arrays by orbax's manager, None where it is not installed."""
    try:
        import orbax.checkpoint as ocp  # pyright: ignore[reportMissingImports]
    except ImportError:
        return None
    rng = np.random.default_rng(0)
    tree = {"w": rng.normal(size=1000).astype(np.float32), "r": rng.normal(size=(10, 10)).astype(np.float32)}
    outcomes = {kind: Counter() for kind in KINDS}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "orbax"
        with ocp.CheckpointManager(place) as manager:
            manager.save(0, args=ocp.args.StandardSave(tree))
            manager.wait_until_finished()
        files = [file for file in (place / "0").rglob("*") if file.is_file()]
        for kind, file, changed in _changes(files, trials, seed):
            data = file.read_bytes()
            file.write_bytes(changed)
            try:
                with ocp.CheckpointManager(place) as manager:
                    back = manager.restore(0, args=ocp.args.StandardRestore(tree))
                same = all(np.array_equal(back[name], tree[name]) for name in tree)
                outcomes[kind]["same bits, in silence" if same else "OTHER NUMBERS, in silence"] += 1
            except Exception:  # whatever it raises is an answer
                outcomes[kind]["an error"] += 1
            file.write_bytes(data)
    return outcomes


def section(short: bool = False) -> str:
    """A table of what came out, by kind of damage, ours and orbax's."""
    trials = 10 if short else TRIALS
    lines = ["### Damaged checkpoints", "", "| damage to one file | Jensen | orbax |", "|---|---|---|"]
    here, there = ours(trials), orbax(trials)
    for kind in KINDS:
        beside = "not installed" if there is None else _words(there[kind])
        lines.append(f"| {kind} | {_words(here[kind])} | {beside} |")
    return "\n".join(lines)


def _words(counts: Counter[str]) -> str:
    return "; ".join(f"{count} {words}" for words, count in sorted(counts.items()))
