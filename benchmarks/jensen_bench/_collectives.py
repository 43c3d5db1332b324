"""What a compiled program sends between devices, read from its HLO."""

import dataclasses
import re
from collections.abc import Iterator
from typing import Any

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "collective-permute", "all-to-all")
BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4, "s64": 8, "u64": 8, "f64": 8}

_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{$")
_COLLECTIVE = re.compile(rf"= (.*?) ({'|'.join(KINDS)})(?:-start)?\(")
_SHAPE = re.compile(r"(\w+)\[([\d,]*)\]")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')


@dataclasses.dataclass(frozen=True)
class Collective:
    """One collective operation: its kind, the bytes of its result on a device, and how often a call runs it.

    `rounds` is 0 inside a loop whose length only the data tell; `per_round` says how often a round of that loop does.
    """

    kind: str
    bytes: int
    shape: str
    rounds: int
    per_round: int = 0


def collectives(compiled: Any) -> list[Collective]:
    """The collectives of a compiled program, loops of known length counted as often as they run."""
    computations, entry = _computations(compiled.as_text())
    return list(_walk(computations, entry, 1, 0))


def _computations(text: str) -> tuple[dict[str, list[str]], str]:
    found: dict[str, list[str]] = {}
    name, entry = "", ""
    for line in text.splitlines():
        begins = _COMPUTATION.match(line)
        if begins:
            name = begins.group(1)
            found[name] = []
            entry = name if line.startswith("ENTRY") else entry
        elif name:
            found[name].append(line)
    return found, entry


def _walk(computations: dict[str, list[str]], name: str, rounds: int, inner: int) -> Iterator[Collective]:
    for line in computations.get(name, ()):
        made = _COLLECTIVE.search(line)
        if made:
            yield Collective(made.group(2), _bytes(made.group(1)), made.group(1), rounds, inner)
            continue
        if " while(" in line:
            trips = _TRIPS.search(line)
            n = int(trips.group(1)) if trips else 0
            parts = (rounds * n, inner * n) if n else (0, max(inner, 1))
            for part in re.findall(r"(?:body|condition)=%?([\w.\-]+)", line):
                yield from _walk(computations, part, *parts)
        else:
            for part in re.findall(r"(?:calls|to_apply|true_computation|false_computation)=%?([\w.\-]+)", line):
                yield from _walk(computations, part, rounds, inner)
            for group in re.findall(r"branch_computations=\{([^}]*)\}", line):
                for part in re.findall(r"%?([\w.\-]+)", group):
                    yield from _walk(computations, part, rounds, inner)


def _bytes(shapes: str) -> int:
    total = 0
    for kind, lengths in _SHAPE.findall(shapes):
        size = 1
        for n in filter(None, lengths.split(",")):
            size *= int(n)
        total += size * BYTES.get(kind, 0)
    return total
