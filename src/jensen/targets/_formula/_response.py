"""The left side of a formula on a table: values, trials and levels, checked against the family."""

from typing import Any

import numpy as np

from jensen.core import InputError, UnknownName
from jensen.targets._formula._columns import levels_of
from jensen.targets._formula._families import Family, ResponseData
from jensen.targets._formula._syntax import Formula, Response
from jensen.targets._formula._terms import evaluating


def read_response(formula: Formula, frame: Any, family: Family) -> ResponseData:
    """The response of `formula` on `frame`. Raises `InputError` where `family` does not allow it."""
    response = formula.response
    if family.name == "binomial" and response.trials is None:
        raise InputError("The family binomial needs successes and trials: write 'p(successes, trials) ~ ...'")
    if family.name != "binomial" and response.trials is not None:
        raise InputError(f"'p(successes, trials)' is a response of the family binomial, not of {family.name}")
    if family.name == "ordered":
        return _ordered(frame, response)
    values = _values(formula, frame, family)
    if not np.all(np.isfinite(values)):
        row = int(np.argmax(~np.isfinite(values)))
        raise InputError(
            f"The response {response.name!r} is not finite in row {row}: its argument lies outside the domain"
        )
    family.check(values, response.name)
    return ResponseData(values, None if response.trials is None else _trials(response, frame, values))


def _values(formula: Formula, frame: Any, family: Family) -> np.ndarray:
    from pandas.api.types import is_numeric_dtype

    response = formula.response
    if response.name not in frame.columns:
        return _expression(formula, frame)
    column = frame[response.name]
    if response.level is not None:
        if family.name != "bernoulli":
            raise InputError(f"A level of the response is for the family bernoulli, not {family.name}")
        levels = [str(level) for level in levels_of(column)]
        if response.level not in levels:
            raise UnknownName(f"level of {response.name!r}", response.level, levels)
        return np.array([float(str(value) == response.level) for value in column])
    if not is_numeric_dtype(column.dtype):
        levels = [str(level) for level in levels_of(column)]
        way = f": write {response.name}['{levels[-1]}'] ~ ... for the level that counts as 1"
        kind = "text, with levels " + ", ".join(map(repr, levels[:5])) + (", ..." if len(levels) > 5 else "")
        hint = way if family.name == "bernoulli" else ""
        raise InputError(f"The response {response.name!r} is {kind}; {family.name} needs numbers{hint}")
    return column.to_numpy(dtype=float)


def _expression(formula: Formula, frame: Any) -> np.ndarray:
    from formulae.environment import Environment
    from formulae.matrices import DesignMatrices
    from formulae.model_description import model_description
    from formulae.terms.terms import Model

    from jensen.targets._formula._guard import check_tree
    from jensen.targets._formula._terms import namespace

    with evaluating(formula.text):
        described = model_description(formula.text)
        check_tree(described, formula, frame)
        model = Model(response=described.response)
        response: Any = DesignMatrices(model, frame, Environment([namespace()])).response
        matrix = np.asarray(response.design_matrix, dtype=float)
    if matrix.size != len(frame):
        raise InputError(f"The response {formula.response.name!r} must be one number a row, got shape {matrix.shape}")
    return matrix.reshape(len(frame))


def _trials(response: Response, frame: Any, successes: np.ndarray) -> np.ndarray:
    trials = read_trials(response, frame)
    bad = successes > trials
    if np.any(bad):
        row = int(np.argmax(bad))
        raise InputError(
            f"{successes[row]:g} successes of {trials[row]:g} trials in row {row}: {response.name!r} is too large"
        )
    return trials


def read_trials(response: Response, frame: Any) -> np.ndarray:
    """Trials of each row of `frame`. Raises `InputError` unless they are whole numbers from 0."""
    if isinstance(response.trials, int):
        return np.full(len(frame), float(response.trials))
    trials = frame[response.trials].to_numpy()
    if trials.dtype.kind not in "if" or np.any((trials < 0) | (trials != np.floor(trials))):
        raise InputError(f"The trials {response.trials!r} must be whole numbers from 0")
    return trials.astype(float)


def _ordered(frame: Any, response: Response) -> ResponseData:
    import pandas as pd
    from pandas.api.types import is_numeric_dtype

    if response.name not in frame.columns or response.level is not None:
        raise InputError("The family ordered needs a column as its response")
    column = frame[response.name]
    ordered = isinstance(column.dtype, pd.CategoricalDtype) and column.cat.ordered
    if not ordered and not is_numeric_dtype(column.dtype):
        raise InputError(
            f"The response {response.name!r} is text without an order: number its levels 1, 2, ..., or pass an ordered "
            "category (pandas Categorical, polars Enum)"
        )
    if not ordered and np.any(column != np.floor(column)):
        raise InputError(
            f"The family ordered needs whole numbers or an ordered category, {response.name!r} has fractions"
        )
    levels = levels_of(column)
    if len(levels) < 2:
        raise InputError(f"The family ordered needs two levels or more, {response.name!r} has {len(levels)}")
    if 10 * len(levels) > len(column) and len(levels) > 20:
        raise InputError(
            f"{response.name!r} has {len(levels)} levels in {len(column)} rows: it is a measurement, not ordered"
        )
    code = {level: i for i, level in enumerate(levels)}
    return ResponseData(np.array([float(code[value]) for value in column]), num_levels=len(levels))
