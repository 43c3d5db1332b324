"""The NumPyro program of a formula: one function for all of them, whose argument holds the data and the layout."""

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jensen.targets._formula._families import family_of
from jensen.targets._formula._priors import Prior

INTERCEPT = "Intercept"


@dataclass(frozen=True)
class TermLayout:
    """A term: its name and its number of columns; a term of one column has a scalar coefficient."""

    name: str
    size: int
    scalar: bool

    @property
    def shape(self) -> tuple[int, ...]:
        return () if self.scalar else (self.size,)


@dataclass(frozen=True)
class GroupLayout:
    """The effects of one grouping factor: whether its intercept varies, and which slopes do."""

    factor: str
    num_groups: int
    intercept: bool
    slopes: tuple[TermLayout, ...]

    @property
    def terms(self) -> tuple[TermLayout, ...]:
        first = (TermLayout(f"1|{self.factor}", 1, True),) if self.intercept else ()
        return (*first, *self.slopes)


@dataclass(frozen=True)
class Layout:
    """Everything about a model that shapes its program: hashable, compared by value."""

    family: str
    response: str
    intercept: bool
    common: tuple[TermLayout, ...]
    groups: tuple[GroupLayout, ...]
    num_levels: int = 0


class GroupDesign(eqx.Module):
    """Rows of one grouping factor: the group of each row, its slopes' columns (centred), and what was subtracted."""

    index: Int[Array, " n"]
    columns: Float[Array, "n k"] | None
    mean: Float[Array, " k"] | None


class Design(eqx.Module):
    """The data of a formula: columns of the common terms (centred), their means, groups, offset, response, priors.

    `common` and `mean` are None without common terms; `response` is None for new rows, whose responses are then drawn.
    """

    layout: Layout = eqx.field(static=True)
    common: Float[Array, "n p"] | None
    mean: Float[Array, " p"] | None
    groups: tuple[GroupDesign, ...]
    offset: Float[Array, " n"] | None
    trials: Int[Array, " n"] | None
    response: Float[Array, " n"] | Int[Array, " n"] | None
    zero: Float[Array, " n"]  # fixes n and the float type where there are no columns at all
    priors: dict[str, Prior]


def regression_model(design: Design) -> None:
    """y_i ~ family(eta_i),  eta = offset + Intercept + X beta + sum over factors of Z u[group], as a NumPyro program.

    Columns enter centred where the intercept of their level can absorb the shift; `Intercept`, the cutpoints and the
    groups' intercepts are returned on the original scale, as deterministic sites. Group effects are non-centred:
    u = sd * offset with standard normal offsets, the sds of one factor independent of each other.
    """
    import numpyro

    layout = design.layout
    eta = design.zero if design.offset is None else design.zero + design.offset
    shift = jnp.zeros((), eta.dtype)
    if design.common is not None and design.mean is not None:
        beta = jnp.concatenate([jnp.ravel(_sample(design, term.name, term.shape)) for term in layout.common])
        eta = eta + design.common @ beta
        shift = design.mean @ beta
    if layout.intercept:
        eta = eta + _intercept(design, shift)
    for group, rows in zip(layout.groups, design.groups, strict=True):
        eta = eta + _group_effects(design, group, rows)
    auxiliary = _auxiliary(design, shift)
    likelihood = family_of(layout.family).distribution(eta, auxiliary, design.trials)
    numpyro.sample(layout.response, likelihood, obs=design.response)


def _sample(design: Design, site: str, shape: tuple[int, ...]) -> Any:
    import numpyro

    return numpyro.sample(site, design.priors[site].distribution(shape))


def _intercept(design: Design, shift: Float[Array, ""]) -> Any:
    """The intercept at the mean of the columns; the one at zero is recorded."""
    import numpyro

    if not design.layout.common:
        return _sample(design, INTERCEPT, ())
    centred = numpyro.sample(f"{INTERCEPT}_centered", design.priors[INTERCEPT].distribution(()))
    numpyro.deterministic(INTERCEPT, centred - shift)
    return centred


def _group_effects(design: Design, group: GroupLayout, rows: GroupDesign) -> Float[Array, " n"]:
    import numpyro

    eta, slopes = design.zero, []
    for term in group.slopes:
        effects = _effects(design, term, group.num_groups)
        numpyro.deterministic(term.name, effects[:, 0] if term.scalar else effects)
        slopes.append(effects)
    shift = jnp.zeros((), eta.dtype)
    if rows.columns is not None and rows.mean is not None:
        stacked = jnp.concatenate(slopes, axis=1)
        eta = eta + jnp.sum(rows.columns * stacked[rows.index], axis=1)
        shift = stacked @ rows.mean
    if group.intercept:
        term = group.terms[0]
        effects = _effects(design, term, group.num_groups)[:, 0]
        numpyro.deterministic(term.name, effects - shift)
        eta = eta + effects[rows.index]
    return eta


def _effects(design: Design, term: TermLayout, num_groups: int) -> Float[Array, "groups k"]:
    import numpyro
    import numpyro.distributions as dist

    sd = _sample(design, f"{term.name}_sigma", term.shape)
    shape = (num_groups, *term.shape)
    standard = dist.Normal(jnp.zeros((), design.zero.dtype), jnp.ones((), design.zero.dtype))
    offset = numpyro.sample(f"{term.name}_offset", standard.expand(shape).to_event(len(shape)))
    return (sd * offset).reshape(num_groups, term.size)


def _auxiliary(design: Design, shift: Float[Array, ""]) -> dict[str, Array]:
    layout = design.layout
    if layout.num_levels:
        return {"cutpoints": _cutpoints(design, shift)}
    taken = {INTERCEPT, *(t.name for t in layout.common)}
    taken |= {f"{term.name}_sigma" for group in layout.groups for term in group.terms}
    return {name: _sample(design, name, ()) for name in design.priors if name not in taken}


def _cutpoints(design: Design, shift: Float[Array, ""]) -> Float[Array, " cuts"]:
    """Cutpoints; the level probabilities at the mean of the columns have a Dirichlet prior, as in rstanarm's polr."""
    import numpyro

    levels = design.layout.num_levels
    parts = jnp.asarray(numpyro.sample("cutpoints_simplex", design.priors["cutpoints"].distribution((levels,))))
    below = jnp.cumsum(parts)[:-1]
    above = jnp.cumsum(parts[::-1])[::-1][1:]
    centred = jnp.log(below) - jnp.log(above)
    numpyro.deterministic("cutpoints", centred + shift)
    return centred
