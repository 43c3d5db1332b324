"""`kill -9` at random moments, many of them within a write, and a comparison with a run that nothing disturbed."""

import dataclasses
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from jensen.core import StorageError
from jensen.core.sealed import unseal
from jensen_bench.reliability.cases import CASES
from jensen_bench.reliability.forks import PATIENCE, Child, Server

KILLS = 25  # of each algorithm
EARLY = 0.15  # share of kills at any moment of a process's life, compilation included; the others come after a save


@dataclasses.dataclass
class Count:
    """What happened to one case: `writing` counts kills that left a half written file behind."""

    kills: int = 0
    writing: int = 0
    resumed: int = 0
    same: int = 0
    other: int = 0


def killed(server: Server, names: Sequence[str], kills: int, seed: int) -> dict[str, Count]:
    """Kill each case `kills` times in all, resume after each kill or after two or three, and compare the results.

    Every run that was killed is in the end run to its end, and counts as `same` if its digest is the undisturbed one's.
    """
    rng, counts = random.Random(seed), {}
    for name in names:
        want, whole, loop = _undisturbed(server, name)
        count = counts[name] = Count()
        while count.kills < kills:
            with tempfile.TemporaryDirectory() as folder:
                place = Path(folder) / "checkpoint"
                for _ in range(min(rng.choice((1, 1, 1, 2, 3)), kills - count.kills)):
                    child = server.start("perform", name, str(place))
                    _wait_and_kill(child, place, rng, whole, loop)
                    if child.wait() == 9:
                        count.kills += 1
                        count.writing += _was_writing(place)
                count.resumed += bool(_states(place))
                same = server.start("perform", name, str(place)).result() == want
                count.same, count.other = count.same + same, count.other + (not same)
    return counts


def _undisturbed(server: Server, name: str) -> tuple[str, float, float]:
    """(digest, seconds of a whole process, seconds of it after the first save), compiled programs at hand."""
    want = server.start("perform", name, "").result()
    with tempfile.TemporaryDirectory() as folder:
        place, began = Path(folder) / "checkpoint", time.monotonic()
        child = server.start("perform", name, str(place))
        _first_save(place, began + PATIENCE)
        saved = time.monotonic()
        if child.result() != want:
            raise RuntimeError(f"{name}: saving changes the result")
        return want, time.monotonic() - began, time.monotonic() - saved


def _wait_and_kill(child: Child, place: Path, rng: random.Random, whole: float, loop: float) -> None:
    if rng.random() < EARLY:
        time.sleep(rng.uniform(0, whole))
    else:
        before, until = _newest(place), time.monotonic() + 3 * whole + 1
        while _newest(place) == before and time.monotonic() < until:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, loop))
    child.kill()


def _states(place: Path) -> list[Path]:
    return sorted(place.glob("**/state-[ab]"))


def _newest(place: Path) -> int:
    times = []
    for path in _states(place):
        try:
            times.append(path.stat().st_mtime_ns)
        except FileNotFoundError:  # replaced between the look and the question
            continue
    return max(times, default=0)


def _first_save(place: Path, until: float) -> None:
    while not _states(place) and time.monotonic() < until:
        time.sleep(0.001)


def _was_writing(place: Path) -> bool:
    """Whether a half written state, or records that no state counts on yet, lie there."""
    if list(place.glob("**/.state-*")):
        return True
    for path in place.glob("**/records-[ab]"):
        try:
            meta, _, _ = unseal(path.with_name(path.name.replace("records", "state")).read_bytes())
        except (FileNotFoundError, StorageError):
            return True
        if path.stat().st_size != meta["log_size"]:
            return True
    return False


def section(short: bool = False) -> str:
    """Kill each algorithm 25 times, twice in the short form, and what takes long to begin a fifth as often."""
    lines = ["### kill -9", "", "| run | kills | within a write | went on from a checkpoint | same bits | other |"]
    lines.append("|---|---|---|---|---|---|")
    with Server() as server:
        for i, (name, case) in enumerate(CASES.items()):
            kills = max(1, round(case.share * (2 if short else KILLS)))
            c = killed(server, [name], kills, seed=100 + i)[name]
            lines.append(
                f"| {name} | {c.kills} | {c.writing} | {c.resumed} | {c.same} of {c.same + c.other} | {c.other} |"
            )
    return "\n".join(lines)
