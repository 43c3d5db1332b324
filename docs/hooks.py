"""MkDocs hooks: tables and API entries that are made from the library itself, so that they cannot fall behind it.

A line `<!-- methods -->`, or `families`, `objectives`, `estimators`, `synthetic` in its place, becomes a table of the
public classes; `<!-- api: jensen.targets -->` an entry for each name in `__all__` of that module; `<!-- changes -->`
the change log.
"""

import dataclasses
import importlib
import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError

MARK = re.compile(r"^<!-- (\w+)(?:: ([\w.]+))? -->$", re.MULTILINE)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill the marks of a page. Raises `PluginError` for an unknown mark, or a class without a source."""
    return MARK.sub(_fill, markdown)


def _fill(match: re.Match[str]) -> str:
    kind, argument = match.groups()
    if kind not in FILLERS:
        raise PluginError(f"Unknown mark {match.group(0)!r}: known are {', '.join(FILLERS)}")
    return FILLERS[kind](*([argument] if argument else []))


def public(module_name: str) -> Iterator[tuple[str, Any]]:
    """Names in `__all__` of a module and what they stand for, by name."""
    module = importlib.import_module(module_name)
    for name in sorted(module.__all__, key=str.lower):
        yield name, getattr(module, name)


def classes(module_name: str, base_name: str) -> Iterator[tuple[str, type]]:
    """The public concrete classes of a module that derive from `jensen.core.<base_name>`."""
    base = getattr(importlib.import_module("jensen.core"), base_name)
    for name, value in public(module_name):
        if inspect.isclass(value) and issubclass(value, base) and not inspect.isabstract(value):
            yield name, value


def summary(cls: type) -> str:
    """First sentence of the docstring, fit for a table cell."""
    paragraph = inspect.cleandoc(cls.__doc__ or "").split("\n\n")[0].replace("\n", " ")
    return _cell(paragraph)


def source(cls: type) -> str:
    """The papers after `Source:` in the docstring."""
    text = inspect.cleandoc(cls.__doc__ or "")
    found = re.search(r"\bSources?:\s*(.+?)(?:\n\s*\n|\Z)", text, re.DOTALL)
    if found is None:
        raise PluginError(f"{cls.__name__} has no 'Source:' in its docstring")
    return _cell(" ".join(found.group(1).split()))


def _cell(text: str) -> str:
    text = text.replace("|", "\\|")
    parts = text.split("`")  # every second part is code, where Markdown escapes are shown as they are
    parts[::2] = [re.sub(r"([*_\[\]])", r"\\\1", part).replace("<", "&lt;") for part in parts[::2]]
    return "`".join(parts)


def _names(value: Any, otherwise: str) -> str:
    """A capability, a tuple of them, or what a wrapper says (which asks for what the algorithm inside asks for)."""
    if isinstance(value, type):
        return value.__name__
    if isinstance(value, tuple):
        return ", ".join(v.__name__ for v in value)
    return otherwise


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _link(page: str, module: str, name: str) -> str:
    return f"[`{name}`](../api/{page}.md#{module}.{name})"


def methods() -> str:
    """One table for each kind of posterior, of the algorithms that give it."""
    groups: dict[str, list[list[str]]] = {}
    for name, cls in classes("jensen.algorithms", "Algorithm"):
        gives = _names(vars(cls).get("gives", cls.gives), "what the algorithm inside gives")
        needs = _names(vars(cls).get("needs", cls.needs), "what the algorithm inside needs")
        minibatches = "as inside" if isinstance(cls.exact, property) else ("no" if cls.exact else "yes")
        row = [_link("algorithms", "jensen.algorithms", name), needs, minibatches, summary(cls), source(cls)]
        groups.setdefault(gives, []).append(row)
    parts = []
    for gives, rows in sorted(groups.items()):
        title = f"Gives a `{gives}`" if gives.isidentifier() else f"Wrappers: give {gives}"
        parts.append(f"### {title}\n\n" + _table(["method", "needs", "minibatches", "what it does", "source"], rows))
    return "\n\n".join(parts)


def families() -> str:
    """The families, and what each offers."""
    core = importlib.import_module("jensen.core")
    rows = []
    for name, cls in classes("jensen.families", "Family"):
        offers = [word.lower() for word in ("Density", "Reparameterised") if issubclass(cls, getattr(core, word))]
        rows.append([_link("families", "jensen.families", name), ", ".join(offers) or "draws only", summary(cls)])
    return _table(["family", "offers", "what it is"], rows)


def objectives() -> str:
    """The objectives, and the bound on the log evidence that each declares."""
    rows = []
    for name, cls in classes("jensen.objectives", "Objective"):
        bound: Any = cls.bound  # pyright: ignore[reportAttributeAccessIssue]
        rows.append([_link("objectives", "jensen.objectives", name), str(bound or "none"), summary(cls), source(cls)])
    return _table(["objective", "bound", "what it is", "source"], rows)


def estimators() -> str:
    """The gradient estimators, and what each asks of the family."""
    rows = []
    for name, cls in classes("jensen.gradient_estimators", "GradientEstimator"):
        needs: Any = cls.needs  # pyright: ignore[reportAttributeAccessIssue]
        link = _link("gradient_estimators", "jensen.gradient_estimators", name)
        rows.append([link, _names(needs, "anything"), summary(cls), source(cls)])
    return _table(["estimator", "needs of the family", "what it is", "source"], rows)


def synthetic() -> str:
    """The targets whose answers are known."""
    rows = [[f"`{name}`", summary(cls)] for name, cls in classes("jensen.targets.synthetic", "Target")]
    return _table(["target", "what it is"], rows)


def api(module_name: str) -> str:
    """An entry for each public class and function of a module; classes with their settings and defaults."""
    entries = []
    for name, value in public(module_name):
        if inspect.ismodule(value):
            continue
        entries.append(f"::: {module_name}.{name}")
        if dataclasses.is_dataclass(value) and not inspect.isabstract(value):
            entries.append(f"```text\n{constructor(value)}\n```")
    return "\n\n".join(entries)


def constructor(cls: Any) -> str:
    """A dataclass as it is called: fields in order, with their defaults."""
    parts = []
    for field in dataclasses.fields(cls):
        if not field.init:
            continue
        if field.default is not dataclasses.MISSING:
            parts.append(f"{field.name}={field.default!r}")
        elif field.default_factory is not dataclasses.MISSING:
            parts.append(f"{field.name}={field.default_factory()!r}")
        else:
            parts.append(field.name)
    call = f"{cls.__name__}({', '.join(parts)})"
    return call if len(call) <= 90 else f"{cls.__name__}(\n    " + ",\n    ".join(parts) + ",\n)"


def changes() -> str:
    """The change log of the repository."""
    return (Path(__file__).parent.parent / "CHANGELOG.md").read_text(encoding="utf-8")


FILLERS: dict[str, Callable[..., str]] = {
    f.__name__: f for f in (methods, families, objectives, estimators, synthetic, api, changes)
}
