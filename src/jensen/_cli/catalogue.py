"""`jensen methods`: every part of the library, told by its own class."""

import inspect
from typing import Any

_KINDS = {
    "algorithms": "Algorithm",
    "families": "Family",
    "objectives": "Objective",
    "gradient_estimators": "GradientEstimator",
}


def methods() -> dict[str, list[dict[str, str]]]:
    """A list of records for each kind of part: name, needs and gives (algorithms), first line, source."""
    import importlib

    from jensen import core

    out: dict[str, list[dict[str, str]]] = {}
    for module_name, base_name in _KINDS.items():
        module, base = importlib.import_module(f"jensen.{module_name}"), getattr(core, base_name)
        members = [getattr(module, name) for name in module.__all__]
        classes = [m for m in members if isinstance(m, type) and issubclass(m, base) and not inspect.isabstract(m)]
        out[module_name.replace("_", " ")] = [_record(c) for c in classes]
    return out


def _record(cls: Any) -> dict[str, str]:
    text = inspect.cleandoc(cls.__doc__ or "")
    line, _, _ = text.partition("\n\n")
    record = {"name": cls.__name__, "line": " ".join(line.split()), "source": _source(text)}
    if hasattr(cls, "gives"):
        record |= {"needs": _names(cls.needs), "gives": _names(cls.gives)}
    return record


def _names(value: Any) -> str:
    if isinstance(value, property):  # of a wrapper
        return "as what it wraps"
    members = value if isinstance(value, tuple) else (value,)
    return ", ".join(m.__name__.removesuffix("Posterior") for m in members)


def _source(text: str) -> str:
    for block in text.split("\n\n"):
        if block.startswith(("Source:", "Sources:")):
            return " ".join(block.split()).partition(":")[2].strip()
    return ""


def methods_command(as_json: bool) -> int:
    """Print the catalogue, as text or JSON."""
    import json

    from rich.text import Text

    from jensen._cli.show import console

    found = methods()
    if as_json:
        print(json.dumps(found, indent=1, ensure_ascii=False))
        return 0
    out = console()
    for kind, records in found.items():
        if not records:
            continue
        out.print(Text(kind, "bold"))
        for r in records:
            flow = f"   needs {r['needs']}, gives {r['gives']}" if "needs" in r else ""
            out.print(Text.assemble(("  " + r["name"], "cyan"), (flow, "dim")))
            out.print(Text(f"      {r['line']}"))
            if r["source"]:
                out.print(Text(f"      {r['source']}", "dim"))
    return 0
