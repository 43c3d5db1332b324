"""`jensen papers`, `reproduce` and `bench`: packages beside Jensen, found by their entry points."""

import importlib.metadata
import json
import pkgutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class NotInstalled(Exception):
    """A package beside Jensen is not installed; the message says how to get it."""


def load_group(group: str, what: str) -> Any:
    """The module behind the first entry point of `group`. Raises `NotInstalled`."""
    found = list(importlib.metadata.entry_points(group=group))
    if not found:
        raise NotInstalled(f"No {what} are installed: install Jensen from its repository, whose packages bring them")
    return found[0].load()


def papers_command(topic: str | None, as_json: bool) -> int:
    """Print every paper with its verdict, as a table or JSON."""
    rows = load_group("jensen.papers", "papers").rows()
    if topic is not None:
        topics = sorted({str(row["topic"]) for row in rows})
        if not any(topic.lower() in t.lower() for t in topics):
            from jensen.core import UnknownName

            raise UnknownName("topic", topic, topics)
        rows = [row for row in rows if topic.lower() in str(row["topic"]).lower()]
    if as_json:
        print(json.dumps(rows, indent=1, ensure_ascii=False))
        return 0
    from rich.table import Table
    from rich.text import Text

    from jensen._cli.show import console

    table = Table("id", "topic", "verdict", "slug", "title", box=None, pad_edge=False, header_style="dim")
    for row in rows:
        table.add_row(*(Text(str(row[name] or "")) for name in ("id", "topic", "verdict", "slug", "title")))
    out = console()
    out.print(table)
    measured = sum(row["slug"] is not None for row in rows)
    out.print(Text(f"{len(rows)} papers, {measured} measured: jensen reproduce SLUG", "dim"))
    return 0


def reproduce_command(slug: str, full: bool, as_json: bool, figure: str | None = None) -> int:
    """Run a paper's claims, in quick mode compiled in haste, and draw them to a file. Exit code 1 when one fails."""
    from jensen.core import UnknownName

    package = load_group("jensen.papers", "papers")
    known = [row["slug"] for row in package.rows() if row["slug"]]
    if slug not in known:
        raise UnknownName("paper", slug, known)
    file = None if figure is None else _drawable(figure)
    from jensen._cli.setup import configure

    configure(in_haste=not full)
    result = package.reproduce(slug, full, file).to_json()
    result = json.loads(result) if isinstance(result, str) else result
    if as_json:
        print(json.dumps(result, indent=1, ensure_ascii=False))
    else:
        _show_claims(result)
    return 0 if all(claim["holds"] for claim in result["claims"]) else 1


def _drawable(figure: str) -> Path:
    """The file of this name, if a figure can be written to it. Raises `InputError`, before anything is computed."""
    from matplotlib.backend_bases import FigureCanvasBase

    from jensen.core import InputError

    file = Path(figure)
    known = sorted(FigureCanvasBase.get_supported_filetypes())
    if file.suffix[1:].lower() not in known:
        raise InputError(f"--figure {figure}: the name must end in one of {', '.join(known)}")
    if not file.parent.is_dir() or file.is_dir():
        raise InputError(f"--figure {figure}: give a file in a folder that exists")
    return file


def _show_claims(result: dict[str, Any]) -> None:
    from rich.table import Table
    from rich.text import Text

    from jensen._cli.show import console

    table = Table("claim", "measured", "bound", "baseline", "", box=None, pad_edge=False, header_style="dim")
    for c in result["claims"]:
        mark = Text("holds", "green") if c["holds"] else Text("FAILS", "bold red")
        numbers = [Text(_number(c.get(name))) for name in ("measured", "bound", "baseline")]
        table.add_row(Text(f"{c['claim']} ({c['source']})"), *numbers, mark)
    out = console()
    out.print(Text(f"{result['id']} {result['slug']}: {result['seconds']:.1f} s"))
    out.print(table)


def _number(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def bench_command(name: str | None, arguments: Sequence[str]) -> int:
    """Run a benchmark: a module of the package behind the entry point `jensen.benchmarks`, by its `main(arguments)`."""
    import importlib

    package = load_group("jensen.benchmarks", "benchmarks")
    known = [m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_")]
    if name is None:
        print("\n".join(known))
        return 0
    if name not in known:
        from jensen.core import UnknownName

        raise UnknownName("benchmark", name, known)
    from jensen._cli.setup import configure

    configure()
    return int(importlib.import_module(f"{package.__name__}.{name}").main(list(arguments)) or 0)
