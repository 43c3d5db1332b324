"""Terms of a formula evaluated on a table, and again on new rows with what was learnt from the first."""

import contextlib
import copy
import io
import math
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from jensen.core import InputError
from jensen.targets._formula._arithmetic import NUMERIC_FUNCTIONS
from jensen.targets._formula._columns import levels_of
from jensen.targets._formula._guard import check_kinds, check_size, check_tree, kinds
from jensen.targets._formula._syntax import Formula


@contextlib.contextmanager
def evaluating(text: str) -> Iterator[None]:
    """Errors of `formulae` as `InputError`; its prints and NumPy's warnings are dropped, values are checked later."""
    try:
        with contextlib.redirect_stdout(io.StringIO()), np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"The formula {text!r} cannot be evaluated on these data: {error}") from error


def namespace() -> dict[str, Any]:
    """The functions that formulas may call beyond those of `formulae` itself; no other name can be resolved."""
    return {name: getattr(np, name) for name in NUMERIC_FUNCTIONS}


class Columns:
    """Terms evaluated together: an (n, k) matrix with a name, a size and labels for each term."""

    def __init__(self, terms: list[Any], frame: Any, text: str):
        from formulae.environment import Environment
        from formulae.matrices import DesignMatrices
        from formulae.terms.terms import Model

        self.text = text
        check_size(terms, frame, text)
        with evaluating(text):
            design = DesignMatrices(Model(*copy.deepcopy(terms)), frame, Environment([namespace()]))
            self.common: Any = design.common
        self.names = [n for n, t in self.common.terms.items() if t.kind not in ("intercept", "offset")]
        self.offsets = [n for n, t in self.common.terms.items() if t.kind == "offset"]
        self.intercept = any(t.kind == "intercept" for t in self.common.terms.values())
        self.labels = {n: list(self.common.terms[n].labels) for n in self.names}
        self.scalar = {n: self.common.terms[n].kind == "numeric" and len(self.labels[n]) == 1 for n in self.names}

    def matrix(self, frame: Any | None = None) -> np.ndarray:
        """Columns of all terms but intercept and offsets: of the first rows, or of `frame`."""
        return self._columns(self.names, frame)

    def offset(self, frame: Any | None = None) -> np.ndarray | None:
        """The sum of the offsets, None without any."""
        return self._columns(self.offsets, frame).sum(axis=1) if self.offsets else None

    def _columns(self, names: list[str], frame: Any | None) -> np.ndarray:
        common = self.common
        if frame is not None:
            self._check_levels(frame)
            with evaluating(self.text):
                common = self.common.evaluate_new_data(frame)
        rows = common.design_matrix.shape[0]
        parts = [np.asarray(common[name], dtype=float).reshape(rows, -1) for name in names]
        for name, part in zip(names, parts, strict=True):
            bad = ~np.isfinite(part).all(axis=1)
            if bad.any():
                raise InputError(
                    f"{name} is not finite in {int(bad.sum())} rows (the first is row {int(np.argmax(bad))}): its "
                    "argument lies outside the function's domain"
                )
        return np.concatenate(parts, axis=1) if parts else np.zeros((rows, 0))

    def _check_levels(self, frame: Any) -> None:
        for term in self.common.terms.values():
            for component in getattr(term, "components", ()):
                if component.kind == "categoric" and component.name in frame.columns:
                    _require_known(component.name, frame[component.name].tolist(), component.levels)


def _require_known(name: str, values: list[Any], levels: Any) -> None:
    known = set(levels)
    new = sorted({str(value) for value in values if value not in known})
    if new:
        shown = ", ".join(map(repr, new[:5])) + (f" and {len(new) - 5} more" if len(new) > 5 else "")
        raise InputError(
            f"New levels of {name!r}: {shown}, which the fitted data do not have; drop their rows or fit again"
        )


class Groups:
    """One grouping factor: the combinations of levels that occur in the data are the groups 0, 1, ..."""

    def __init__(self, factor: Any, exprs: list[Any], frame: Any, text: str):
        self.name = factor.name
        self.columns = [component.name for component in factor.components]
        self.levels = [levels_of(frame[column]) for column in self.columns]
        if math.prod(map(len, self.levels)) > np.iinfo(np.int64).max:
            raise InputError(f"The grouping {self.name!r} has more combinations of levels than can be numbered")
        cells = self._cells(frame)
        self.cells, self.index = np.unique(cells, return_inverse=True)
        if len(self.cells) < 2:
            raise InputError(f"The grouping {self.name!r} has one group: group effects need two or more")
        self.effects = Columns(exprs, frame, text)

    def _cells(self, frame: Any) -> np.ndarray:
        codes = []
        for column, levels in zip(self.columns, self.levels, strict=True):
            values = frame[column].tolist()
            _require_known(column, values, levels)
            code = {level: i for i, level in enumerate(levels)}
            codes.append(np.array([code[value] for value in values]))
        return np.asarray(np.ravel_multi_index(codes, tuple(len(levels) for levels in self.levels)))

    def labels(self) -> list[str]:
        """A label a group: its levels, joined by ':'."""
        places = np.unravel_index(self.cells, tuple(len(levels) for levels in self.levels))
        return [
            ":".join(str(levels[i]) for levels, i in zip(self.levels, place, strict=True))
            for place in zip(*places, strict=True)
        ]

    def index_of(self, frame: Any) -> np.ndarray:
        """The group of each row of `frame`. Raises `InputError` for levels or combinations that are new."""
        cells = self._cells(frame)
        place = np.minimum(np.searchsorted(self.cells, cells), len(self.cells) - 1)
        new = self.cells[place] != cells
        if new.any():
            row = int(np.argmax(new))
            words = ":".join(str(frame[column].iloc[row]) for column in self.columns)
            raise InputError(f"New group {words!r} of {self.name!r} in row {row}: drop its rows or fit again")
        return place


class Terms:
    """The right side of a formula on a table: common terms and, by factor, group effects."""

    def __init__(self, formula: Formula, frame: Any):
        from formulae.model_description import model_description

        with evaluating(formula.text):
            model = model_description(formula.text)
        check_tree(model, formula, frame)
        self.common = Columns(model.common_terms, frame, formula.text) if model.common_terms else None
        self.kinds = kinds(frame)
        by_factor: dict[str, tuple[Any, list[Any]]] = {}
        for term in model.group_terms:
            by_factor.setdefault(term.factor.name, (term.factor, []))[1].append(term.expr)
        self.groups = [Groups(factor, exprs, frame, formula.text) for factor, exprs in by_factor.values()]
        if self.common is None and not self.groups:
            raise InputError(f"The formula {formula.text!r} has no term: nothing is to be estimated from it")

    def check_new(self, frame: Any) -> None:
        """Raise `InputError` where columns of new rows are of another kind than those that were fitted."""
        check_kinds(self.kinds, frame)
