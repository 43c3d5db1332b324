"""`from_formula`: a formula and a table as a target."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, cast

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jensen.core import InputError, PRNGKey, Space, Target
from jensen.targets._formula._checks import check_columns, check_rows
from jensen.targets._formula._columns import as_table, column_names, complete_rows, select
from jensen.targets._formula._defaults import default_priors
from jensen.targets._formula._families import ResponseData, family_of
from jensen.targets._formula._model import (
    INTERCEPT,
    Design,
    GroupDesign,
    GroupLayout,
    Layout,
    TermLayout,
    regression_model,
)
from jensen.targets._formula._priors import Default, PriorTable, choose
from jensen.targets._formula._response import read_response, read_trials
from jensen.targets._formula._syntax import Formula, parse
from jensen.targets._formula._terms import Columns, Terms
from jensen.targets._numpyro import NumPyroTarget, from_numpyro


class Origin:
    """What a target was made from: it rides along for tables and new rows, and never enters a compiled program.

    Any two are equal, so that a target with other labels or other priors of equal kinds runs the same programs. A
    target that comes *out* of a compiled function may thus carry the origin of the first one that went in.
    """

    def __init__(self, formula: Formula, terms: Terms, priors: PriorTable, rows_dropped: int):
        self.formula, self.terms, self.priors, self.rows_dropped = formula, terms, priors, rows_dropped

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Origin)

    def __hash__(self) -> int:
        return hash(Origin)


class FormulaTarget(Target):
    """The posterior of a regression written as a formula; made by `from_formula`."""

    space: Space
    inner: NumPyroTarget
    origin: Origin = eqx.field(static=True)

    @property
    def fitted_design(self) -> Design:
        """The design of the rows that were fitted."""
        return self.inner.model.args[0]

    @property
    def priors(self) -> PriorTable:
        """The priors, a printable table: site, prior, why."""
        return self.origin.priors

    @property
    def rows_dropped(self) -> int:
        """Rows that were left out since they missed a value."""
        return self.origin.rows_dropped

    @property
    def labels(self) -> dict[str, tuple[tuple[str, ...], ...]]:
        """Names of the entries of each array site: a tuple of labels an axis."""
        return _labels(self.fitted_design.layout, self.origin.terms)

    def log_density(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        return self.inner.log_density(z)

    def start(self, key: PRNGKey) -> Float[Array, " d"]:
        return self.inner.start(key)

    def observed(self) -> dict[str, Array]:
        return self.inner.observed()

    def diagnose(self, z: Float[Array, " d"]) -> str:
        return self.inner.diagnose(z)

    def predict(self, key: PRNGKey, z: Float[Array, " d"], design: Design | None = None) -> dict[str, Array]:
        """Responses drawn from the model at z, (n,) under the response's name; for the rows of `design` if given."""
        inner = self.inner
        if design is not None:
            # The handler that frees observed sites compares shapes with those of the observations.
            place = jnp.zeros(design.zero.shape, jnp.asarray(self.fitted_design.response).dtype)
            design = eqx.tree_at(lambda d: d.response, design, place, is_leaf=_is_none)
            inner = eqx.tree_at(lambda t: t.model.args, inner, (design,))
        return inner.predict(key, z)

    def design(self, frame: Any) -> Design:
        """The design of new rows, for `predict`: the response is not needed.

        Raises `UnknownName` for a missing column, `InputError` for missing or infinite values and for levels or groups
        that the fitted data do not have.
        """
        origin, used = self.origin, self.fitted_design
        formula, table = origin.formula, as_table(frame)
        known = column_names(table)
        formula.check_columns(known, formula.right)
        columns = [use.column for use in formula.right]
        trials = formula.response.trials
        if isinstance(trials, str):
            formula.check_columns(known, tuple(use for use in formula.left if use.column == trials))
            columns.append(trials)
        if columns:
            new = select(table, tuple(dict.fromkeys(columns)), _categorical(formula, used.layout.family))
            new, _ = complete_rows(new, drop=False)
            origin.terms.check_new(new)
            rows = len(new)
        else:
            rows = len(table[known[0]])
            new = None
        design = _design(used.layout, origin.terms, new, rows, used.mean, [g.mean for g in used.groups])
        counts = None if trials is None else _whole(read_trials(formula.response, new))
        return eqx.tree_at(lambda d: (d.trials, d.priors), design, (counts, used.priors), is_leaf=_is_none)


def from_formula(
    formula: str,
    frame: Any,
    family: str = "gaussian",
    priors: Mapping[str, Any] | None = None,
    missing: str = "error",
) -> FormulaTarget:
    """The posterior of the regression `formula` on the rows of `frame`.

        link(E[y]) = offset + Intercept + X beta + sum over grouping factors of Z u[group],   u = sd * standard normal

    **Formula.** Wilkinson notation: `y ~ x * c + log(z) + {a / b} + poly(x, 3) + bs(t, df=5) + offset(log(e))` and
    `(1 + x | g)`, nested `(1 | g/h)`; on the left `p(k, n)` for k successes of n trials, `y['yes']` for one level. It
    is read as untrusted text: only columns, numbers and a fixed list of functions may occur, nothing is run as Python.

    **Frame.** A polars or pandas DataFrame, a dict of arrays, or the path of a CSV or Parquet file. Text and categories
    are factors (the first level is the reference); true/false are 0 and 1.

    **Family.** `gaussian, student` (identity), `bernoulli, binomial` (logit), `poisson, negative_binomial, gamma`
    (log), `ordered` (cumulative logit).

    **Priors.** Weakly informative and scaled to the data as in rstanarm and Bambi, see `.priors` for the table; change
    one by its site: `priors={"x": ("normal", 0, 1), "1|g_sigma": ("exponential", 1.0)}` (`sd(g|Intercept)` is another
    name of `1|g_sigma`). Columns are centred inside, and the prior of `Intercept` is for the intercept at the columns'
    means; `Intercept` is reported at zero.

    **Group effects** are non-centred, with *independent* sds a factor, as in Bambi; rstanarm and brms give
    `(1 + x | g)` a correlation matrix with an LKJ prior. Independence needs no further parameters and keeps every
    conditional prior Gaussian; it makes no claim about the origin of x here, for slopes' columns are centred where
    their factor's intercept varies: `1|g_sigma` is the sd of the groups at the mean of x, while `1|g` is reported at
    zero. Not for data where the correlation itself is asked for.

    **Sites.** `Intercept` (`cutpoints` for ordered), each term by its name (a vector where it has several columns),
    `1|g` and `x|g` with `1|g_sigma`, `x|g_sigma` and the standardised `1|g_offset`, `x|g_offset`; `sigma`, `nu`,
    `alpha` by family. The response is observed under its own name, so that `predict` draws replicates.

    Data are leaves: another frame with as many rows and groups compiles nothing.

    Raises `InputError` (a `ValueError`) with one clear message: a formula that cannot be read (with a caret at the
    place), missing (`missing="drop"` leaves those rows out, with a warning) or infinite values, a response outside the
    family's support, constant or collinear predictors, too few rows; `UnknownName` for a column, family or prior.
    """
    parsed = parse(formula)
    distribution = family_of(family)
    if missing not in ("error", "drop"):
        raise InputError(f"missing must be 'error' or 'drop', got {missing!r}")
    table = as_table(frame)
    parsed.check_columns(column_names(table), (*parsed.left, *parsed.right))
    both = {use.column for use in parsed.left} & {use.column for use in parsed.right}
    if both and parsed.response.trials is None:
        raise InputError(
            f"{', '.join(map(repr, sorted(both)))} is both response and predictor: remove it from one side"
        )
    rows = select(table, parsed.columns(), _categorical(parsed, family))
    rows, kept = complete_rows(rows, drop=missing == "drop")
    response = read_response(parsed, rows, distribution)
    terms = Terms(parsed, rows)
    layout = _layout(parsed, family, terms, response)
    _check(layout, terms, len(rows))
    design = _design(layout, terms, None, len(rows), None, None)
    defaults = default_priors(distribution, layout, design, response)
    _check_names(layout, defaults)
    chosen, shown = choose(defaults, priors)
    values = _whole(response.values) if distribution.whole else _real(response.values)
    trials = None if response.trials is None else _whole(response.trials)
    design = eqx.tree_at(lambda d: (d.response, d.trials, d.priors), design, (values, trials, chosen), is_leaf=_is_none)
    inner = from_numpyro(regression_model, design)
    return FormulaTarget(inner.space, cast(NumPyroTarget, inner), Origin(parsed, terms, shown, int((~kept).sum())))


def _is_none(leaf: Any) -> bool:
    return leaf is None


def _categorical(formula: Formula, family: str) -> tuple[str, ...]:
    response = (formula.response.name,) if family == "ordered" or formula.response.level is not None else ()
    return (*response, *(column for column in formula.columns() if formula.is_categorical(column)))


def _layout(formula: Formula, family: str, terms: Terms, response: ResponseData) -> Layout:
    intercept = terms.common is not None and terms.common.intercept
    if family == "ordered" and not intercept:
        raise InputError("The family ordered has cutpoints in place of an intercept: leave out '0 +' and '- 1'")
    common = _term_layouts(terms.common) if terms.common is not None else ()
    groups = tuple(
        GroupLayout(g.name, len(g.cells), g.effects.intercept, _term_layouts(g.effects, f"|{g.name}"))
        for g in terms.groups
    )
    return Layout(family, formula.response.name, intercept and family != "ordered", common, groups, response.num_levels)


def _term_layouts(columns: Columns, suffix: str = "") -> tuple[TermLayout, ...]:
    return tuple(TermLayout(n + suffix, len(columns.labels[n]), columns.scalar[n]) for n in columns.names)


def _check(layout: Layout, terms: Terms, num_rows: int) -> None:
    centred = layout.intercept or layout.num_levels > 0
    labels = [label for name in terms.common.names for label in terms.common.labels[name]] if terms.common else []
    check_rows(num_rows, len(labels) + centred)
    if terms.common is not None:
        check_columns(terms.common.matrix(), labels, centred)
    for group in terms.groups:
        inner = [f"{label}|{group.name}" for name in group.effects.names for label in group.effects.labels[name]]
        check_columns(group.effects.matrix(), inner, group.effects.intercept)


def _check_names(layout: Layout, defaults: tuple[Default, ...]) -> None:
    names = [default.site for default in defaults] + [layout.response]
    for group in layout.groups:
        names += [name for term in group.terms for name in (term.name, f"{term.name}_offset")]
    names += ["cutpoints_simplex"] * bool(layout.num_levels) + [f"{INTERCEPT}_centered"] * layout.intercept
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise InputError(f"The name {twice[0]!r} is taken by a parameter of the model: rename the column")


def _design(
    layout: Layout,
    terms: Terms,
    frame: Any,
    num_rows: int,
    mean: Any,
    group_means: list[Any] | None,
) -> Design:
    """The design without response and priors: of the fitted rows (`frame` None), or of new ones, by the old means."""
    centred = layout.intercept or layout.num_levels > 0
    matrix, mean = _centre(terms.common.matrix(frame) if terms.common else None, centred, mean)
    offset = terms.common.offset(frame) if terms.common else None
    groups = []
    for i, group in enumerate(terms.groups):
        old = None if group_means is None else group_means[i]
        columns, shift = _centre(group.effects.matrix(frame), group.effects.intercept, old)
        index = group.index if frame is None else group.index_of(frame)
        groups.append(GroupDesign(_whole(index), columns, shift))
    zero = jnp.zeros(num_rows, jnp.result_type(float))
    return Design(layout, matrix, mean, tuple(groups), None if offset is None else _real(offset), None, None, zero, {})


def _centre(matrix: np.ndarray | None, centred: bool, mean: Any) -> tuple[Any, Any]:
    if matrix is None or not matrix.shape[1]:
        return None, None
    if mean is None:
        mean = matrix.mean(axis=0) if centred else np.zeros(matrix.shape[1])
    return _real(matrix - np.asarray(mean, dtype=float)), _real(mean)


def _real(values: Any) -> Array:
    return jnp.asarray(np.asarray(values), jnp.result_type(float))


def _whole(values: Any) -> Array:
    values = np.asarray(values)
    dtype = jnp.result_type(int)
    if values.size and values.max() > np.iinfo(dtype).max:
        raise InputError(f"A count of {values.max():g} does not fit {dtype}: switch JAX to 64 bits (jax_enable_x64)")
    return jnp.asarray(values, dtype)


def _labels(layout: Layout, terms: Terms) -> dict[str, tuple[tuple[str, ...], ...]]:
    labels: dict[str, tuple[tuple[str, ...], ...]] = {}
    common = {} if terms.common is None else terms.common.labels
    for term in layout.common:
        if not term.scalar:
            labels[term.name] = (tuple(common[term.name]),)
    for group, source in zip(layout.groups, terms.groups, strict=True):
        names = tuple(source.labels())
        for term in group.terms:
            inner = () if term.scalar else (tuple(source.effects.labels[term.name[: -len(group.factor) - 1]]),)
            labels[term.name] = (names, *inner)
            if inner:
                labels[f"{term.name}_sigma"] = inner
    return labels
