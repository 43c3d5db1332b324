"""What a folder's `progress.jsonl` says of its run, as plain data for the page."""

import json
import os
import stat
import time
from pathlib import Path
from typing import Any

from jensen.core.files import PROGRESS

MAX_BYTES = 2**23  # of the end of the log
MAX_LINE = 2**20
MAX_POINTS = 600  # of a trace
MAX_RUNS, MAX_NOTES, MAX_CHECKS, MAX_TEXT = 50, 50, 50, 500
NUMBERS = ("step", "total", "seconds", "rate", "left", "objective", "residual", "memory", "device_memory")
SILENT = 120.0  # seconds without a line after which a run may be dead: chunks take less, unless they compile


def read_state(folder: Path) -> dict[str, Any]:
    """The runs that the log in `folder` tells of, each with trace, numbers, notes and certificate.

    Lines that are no JSON objects of the documented form are left out, since the last one may be half written, and so
    are numbers that are none. `status`: `waiting` (no line yet), `running`, `silent` or `ended`.
    """
    runs: dict[int, dict[str, Any]] = {}
    last, memory = None, []
    for line in _lines(folder / PROGRESS):
        number = line["number"]
        run = runs.setdefault(number, {"number": number, "name": "", "trace": [], "notes": [], "ended": False})
        run["name"] = _words(line.get("run"))
        last = _number(line.get("time"))
        _take(line, run, memory)
    kept = [runs[number] for number in sorted(runs)][-MAX_RUNS:]
    for run in kept:
        run["trace"] = _thinned(run["trace"])
    age = None if last is None else max(0.0, time.time() - last)
    return {
        "title": _words(folder.resolve().name),
        "status": _status(kept, age),
        "age": age,
        "runs": kept,
        "memory": _thinned(memory),
    }


def _take(line: dict[str, Any], run: dict[str, Any], memory: list[list[Any]]) -> None:
    match line.get("event"):
        case "step":
            run |= {name: _number(line.get(name)) for name in NUMBERS}
            run["ended"] = False
            if run["step"] is not None and run["objective"] is not None:
                run["trace"].append([run["step"], run["objective"]])
            if run["memory"] is not None and (at := _number(line.get("time"))) is not None:
                memory.append([at, run["memory"]])
            notes = line.get("notes")
            run["notes"] += [_words(note) for note in notes] if isinstance(notes, list) else []
            del run["notes"][:-MAX_NOTES]
        case "end":
            run["ended"] = True
        case "certificate":
            checks = line.get("checks")
            checks = [c for c in checks if isinstance(c, dict)] if isinstance(checks, list) else []
            reasons = line.get("reasons")
            run["certificate"] = {
                "passed": line.get("passed") is True,
                "reasons": [_words(r) for r in reasons[:MAX_NOTES]] if isinstance(reasons, list) else [],
                **{name: _number(line.get(name)) for name in ("khat", "ess", "elbo")},
                "checks": [
                    {"name": _words(c.get("name")), "value": _number(c.get("value"))}
                    | {"threshold": _number(c.get("threshold")), "holds": c.get("holds") if _is_verdict(c) else None}
                    for c in checks[:MAX_CHECKS]
                ],
            }


def _is_verdict(check: dict[str, Any]) -> bool:
    return isinstance(check.get("holds"), bool)


def _status(runs: list[dict[str, Any]], age: float | None) -> str:
    if not runs or age is None:
        return "waiting"
    last = runs[-1]
    if last["ended"] and (last.get("certificate") or age > SILENT):
        certificate = last.get("certificate")
        return "ended" if age > 5 or (certificate and certificate["passed"]) else "running"
    return "running" if age <= SILENT else "silent"


def _lines(file: Path) -> list[dict[str, Any]]:
    out = []
    for raw in _tail(file).split(b"\n")[:-1]:
        if not raw.strip() or len(raw) > MAX_LINE:
            continue
        try:
            line = json.loads(raw)
        except (ValueError, RecursionError):
            continue
        number = line.get("number") if isinstance(line, dict) else None
        if isinstance(number, int) and not isinstance(number, bool) and 0 < number < 10**6:
            out.append(line)
    return out


def _tail(file: Path) -> bytes:
    """The end of the log; nothing where it is missing, a link, or no plain file."""
    try:
        handle = os.open(file, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError:
        return b""
    with open(handle, "rb") as stream:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode):
            return b""
        begin = max(0, about.st_size - MAX_BYTES)
        stream.seek(begin)
        data = stream.read(MAX_BYTES)
    return data.partition(b"\n")[2] if begin else data


def _number(value: Any) -> float | int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if abs(value) < 1e300 else None


def _words(value: Any) -> str:
    return str(value if isinstance(value, str) else "")[:MAX_TEXT]


def _thinned(points: list[list[Any]]) -> list[list[Any]]:
    """At most `MAX_POINTS` of the points, the first and last among them."""
    if len(points) <= MAX_POINTS:
        return points
    return [points[round(i * (len(points) - 1) / (MAX_POINTS - 1))] for i in range(MAX_POINTS)]
