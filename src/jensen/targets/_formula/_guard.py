"""The second wall: what `formulae` made of a formula is read again before anything in it is evaluated.

The grammar of `_syntax` decides what may be written. `formulae` reads the same text by a scanner of its own, calls
functions by name and walks attributes of Python objects; should the two ever read one text differently, this stops it.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from jensen.core import InputError
from jensen.targets._formula._arithmetic import CATEGORICAL_FUNCTIONS, FUNCTIONS
from jensen.targets._formula._syntax import Formula

ARITHMETIC = ("+", "-", "*", "/", "**")
OPERATORS = (*ARITHMETIC, "==", "!=", "<", "<=", ">", ">=")
MAX_COLUMNS = 10_000  # of a design matrix: an interaction of two columns of text can ask for billions
MAX_ENTRIES = 2**30


def check_tree(model: Any, formula: Formula, frame: Any) -> None:
    """Raise `InputError` unless the tree of `model` holds columns, plain values and known functions only.

    Columns of text in `frame` may not enter arithmetic: a text times a number is that many copies of it.
    """
    columns = frozenset(formula.columns())
    words = frozenset(name for name in columns if name in frame.columns and not _is_numeric(frame, name))
    terms = [*model.common_terms, *(t for g in model.group_terms for t in (g.expr, g.factor))]
    terms += [] if model.response is None else [model.response.term]
    for component in (c for term in terms for c in _components(term)):
        _check_component(component, columns, formula.text)
        for node in _nodes(getattr(component, "call", None)):
            used = words.intersection(getattr(part, "name", "") for part in getattr(node, "args", ()))
            if getattr(node, "symbol", "") in ARITHMETIC and used:
                raise InputError(f"The column {min(used)!r} is text, and cannot enter the arithmetic {str(node)!r}")


def _components(term: Any) -> list[Any]:
    return list(getattr(term, "components", ()))


def _check_component(component: Any, columns: frozenset[str], text: str) -> None:
    kind = type(component).__name__
    if kind == "Call":
        for node in _nodes(component.call):
            _check_node(node, columns, text)
    elif kind != "Variable" or component.name not in columns:
        raise _refused(text, getattr(component, "name", kind))


def _nodes(node: Any) -> Iterator[Any]:
    yield node
    parts = (*getattr(node, "args", ()), *getattr(node, "kwargs", {}).values())
    for part in parts:
        yield from _nodes(part)


def _check_node(node: Any, columns: frozenset[str], text: str) -> None:
    match type(node).__name__:
        case "LazyCall" if node.callee in FUNCTIONS:
            return
        case "LazyVariable" if node.name in columns:
            return
        case "LazyOperator" if node.symbol in OPERATORS:
            return
        case "LazyValue" if node.value is None or type(node.value) in (int, float, str, bool):
            return
    raise _refused(text, str(node))


def _refused(text: str, what: str) -> InputError:
    return InputError(f"The formula {text!r} is not evaluated: {what!r} is neither a column nor a function of formulas")


def check_size(terms: Iterable[Any], frame: Any, text: str) -> None:
    """Raise `InputError` where the design of `terms` would have too many columns or entries, before it is made."""
    counts = {str(term.name): _width(term, frame) for term in terms}
    total = sum(counts.values())
    if total > MAX_COLUMNS or total * len(frame) > MAX_ENTRIES:
        worst = max(counts, key=lambda name: counts[name])
        raise InputError(
            f"The formula {text!r} expands into up to {total:,} columns of {len(frame):,} rows, {counts[worst]:,} of "
            f"them for {worst!r}: at most {MAX_COLUMNS:,} columns and {MAX_ENTRIES:,} entries are made. Write a column "
            "of many levels as group effects, (1|g)"
        )


def _width(term: Any, frame: Any) -> int:
    """An upper bound on the columns of a term: levels multiply, a basis has at most its largest setting and four."""
    return math.prod(_component_width(component, frame) for component in _components(term))


def _component_width(component: Any, frame: Any) -> int:
    if type(component).__name__ == "Variable":
        return _levels(frame, component.name, False)
    nodes = list(_nodes(component.call))
    apart = any(getattr(node, "callee", "") in CATEGORICAL_FUNCTIONS for node in nodes)
    names = {node.name for node in nodes if type(node).__name__ == "LazyVariable"}
    numbers = [int(v) for v in (getattr(n, "value", 0) for n in nodes) if type(v) in (int, float)]
    basis = max([1, *numbers]) + 4 if component.call.callee in ("poly", "bs") else 1
    return basis * min(math.prod(_levels(frame, name, apart) for name in names), len(frame))


def _levels(frame: Any, name: str, apart: bool) -> int:
    return max(1, frame[name].nunique()) if apart or not _is_numeric(frame, name) else 1


def _is_numeric(frame: Any, name: str) -> bool:
    from pandas.api.types import is_numeric_dtype

    return is_numeric_dtype(frame[name].dtype)


def kinds(frame: Any) -> dict[str, bool]:
    """Whether each column of `frame` holds numbers."""
    return {name: _is_numeric(frame, name) for name in frame.columns}


def check_kinds(fitted: Mapping[str, bool], frame: Any) -> None:
    """Raise `InputError` where a column of new rows holds numbers and the fitted one text, or the other way round."""
    for name, numeric in kinds(frame).items():
        if fitted.get(name, numeric) is not numeric:
            was, now = ("numbers", "text") if fitted[name] else ("text", "numbers")
            raise InputError(f"Column {name!r} holds {now}; it held {was} in the rows that were fitted")
