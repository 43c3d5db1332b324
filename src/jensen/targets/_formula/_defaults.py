"""Weakly informative default priors, scaled to the data."""

from typing import Any

import numpy as np

from jensen.targets._formula._families import Family, ResponseData
from jensen.targets._formula._model import INTERCEPT, Design, Layout, TermLayout
from jensen.targets._formula._priors import Default, make_prior

FACTOR = 2.5  # of rstanarm and Bambi: a change of one sd in x moves eta by less than 5 sds of y, nearly surely


def default_priors(family: Family, layout: Layout, design: Design, response: ResponseData) -> tuple[Default, ...]:
    """The default prior of every site, in the order of the model.

    With s_y the scale of eta (sd of y for an identity link, else 1) and s_x the sd of a column:
    coefficients N(0, 2.5 s_y / s_x), the intercept at the mean of the columns N(link of the mean of y, 2.5 s_y) (0 for
    logit links), group sds HalfNormal(2.5 s_y / s_x), auxiliary parameters as their family says, level probabilities of
    `ordered` uniform. Where no intercept stands beside a column, root mean squares take the place of sds.
    Sources: Goodrich, Gabry, Ali and Brilleman, rstanarm's prior vignette (2020); Capretto et al. (2022), Bambi.
    """
    y = response.values
    scale = family.scale(y, layout.intercept)
    defaults: list[Default] = []
    at = 0
    for term in layout.common:
        columns = np.asarray(design.common)[:, at : at + term.size]
        prior = make_prior("normal", 0.0, _per_column(term, FACTOR * scale / _size(columns)))
        defaults.append(Default(term.name, prior, term.shape, "real", "2.5 sd(response) / sd(column)"))
        at += term.size
    if layout.intercept:
        location = family.location(y)
        prior = make_prior("normal", location, FACTOR * scale)
        defaults.append(Default(INTERCEPT, prior, (), "real", "2.5 sd(response), at the mean of the columns"))
    for group, rows in zip(layout.groups, design.groups, strict=True):
        defaults.extend(_group_defaults(group.terms, group.factor, rows.columns, FACTOR * scale))
    if layout.num_levels:
        prior = make_prior("dirichlet", 1.0)
        shape = (layout.num_levels,)
        defaults.append(Default("cutpoints", prior, shape, "simplex", "uniform level probabilities at the mean"))
    return (*defaults, *family.auxiliary(y, scale))


def _group_defaults(terms: tuple[TermLayout, ...], factor: str, columns: Any, scale: float) -> list[Default]:
    defaults, at = [], 0
    for term in terms:
        expression = term.name[: -len(factor) - 1]
        varies = expression != "1"
        size: np.ndarray = np.ones(1)
        if varies:
            size = _size(np.asarray(columns)[:, at : at + term.size])
            at += term.size
        prior = make_prior("half_normal", _per_column(term, scale / size))
        reason = "2.5 sd(response) / sd(column)" if varies else "2.5 sd(response)"
        alias = f"sd({factor}|{expression if varies else INTERCEPT})"
        defaults.append(Default(f"{term.name}_sigma", prior, term.shape, "positive", reason, alias))
    return defaults


def _size(columns: np.ndarray) -> np.ndarray:
    return np.sqrt(np.mean(columns**2, axis=0))


def _per_column(term: TermLayout, values: np.ndarray) -> Any:
    return values[0] if term.scalar else values
