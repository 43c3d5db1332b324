"""Priors as plain data: a name and numbers, never code."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jensen.core import InputError, UnknownName


@dataclass(frozen=True)
class _Kind:
    """A prior's parameters in order, which of them must be positive, and its support."""

    parameters: tuple[str, ...]
    positive: tuple[str, ...]
    support: str


KINDS = {
    "normal": _Kind(("loc", "scale"), ("scale",), "real"),
    "student_t": _Kind(("df", "loc", "scale"), ("df", "scale"), "real"),
    "cauchy": _Kind(("loc", "scale"), ("scale",), "real"),
    "laplace": _Kind(("loc", "scale"), ("scale",), "real"),
    "half_normal": _Kind(("scale",), ("scale",), "positive"),
    "half_student_t": _Kind(("df", "scale"), ("df", "scale"), "positive"),
    "half_cauchy": _Kind(("scale",), ("scale",), "positive"),
    "exponential": _Kind(("rate",), ("rate",), "positive"),
    "gamma": _Kind(("concentration", "rate"), ("concentration", "rate"), "positive"),
    "inverse_gamma": _Kind(("concentration", "rate"), ("concentration", "rate"), "positive"),
    "log_normal": _Kind(("loc", "scale"), ("scale",), "positive"),
    "dirichlet": _Kind(("concentration",), ("concentration",), "simplex"),
}


class Prior(eqx.Module):
    """The prior of one site: a `kind` of `KINDS` (static), and parameters, array leaves of shape () or the site's."""

    kind: str = eqx.field(static=True)
    parameters: tuple[Float[Array, "..."], ...]

    def distribution(self, shape: tuple[int, ...]) -> Any:
        """The NumPyro distribution of a site of `shape`; of the simplex of `shape[0]` parts for `dirichlet`."""
        import numpyro.distributions as dist

        if self.kind == "dirichlet":
            return dist.Dirichlet(jnp.broadcast_to(self.parameters[0], shape))
        if self.kind == "half_student_t":
            # Twice the density of a Student t on the positive half line.
            df, scale = self.parameters
            base = dist.FoldedDistribution(dist.StudentT(df, 0.0, scale))
        else:
            makers = {
                "normal": dist.Normal,
                "student_t": dist.StudentT,
                "cauchy": dist.Cauchy,
                "laplace": dist.Laplace,
                "half_normal": dist.HalfNormal,
                "half_cauchy": dist.HalfCauchy,
                "exponential": dist.Exponential,
                "gamma": dist.Gamma,
                "inverse_gamma": dist.InverseGamma,
                "log_normal": dist.LogNormal,
            }
            base = makers[self.kind](*self.parameters)
        return base.expand(shape).to_event(len(shape)) if shape else base

    def __str__(self) -> str:
        return f"{self.kind}({', '.join(map(_short, self.parameters))})"


def _short(value: Float[Array, "..."]) -> str:
    numbers = np.unique(np.asarray(value))
    return f"{numbers[0]:.4g}" if numbers.size == 1 else f"{numbers[0]:.4g}..{numbers[-1]:.4g}"


def make_prior(kind: str, *parameters: Any) -> Prior:
    """A `Prior` whose parameters are strongly typed arrays of JAX's default float type."""
    dtype = jnp.result_type(float)
    return Prior(kind, tuple(jnp.asarray(np.asarray(value, dtype=float), dtype) for value in parameters))


@dataclass(frozen=True)
class Default:
    """The default prior of a site, its support and shape, and why it is what it is."""

    site: str
    prior: Prior
    shape: tuple[int, ...]
    support: str
    reason: str
    alias: str = ""


@dataclass(frozen=True)
class PriorTable:
    """The priors of a model by site, with the reason of each; prints as a table, indexed by site."""

    rows: tuple[tuple[str, Prior, str], ...]

    def __getitem__(self, site: str) -> Prior:
        for name, prior, _ in self.rows:
            if name == site:
                return prior
        raise UnknownName("site", site, self.names())

    def names(self) -> tuple[str, ...]:
        """The sites that have a prior, in the order of the model."""
        return tuple(name for name, _, _ in self.rows)

    def __str__(self) -> str:
        lines = [("site", "prior", "why"), *((name, str(prior), reason) for name, prior, reason in self.rows)]
        widths = [max(len(line[i]) for line in lines) for i in range(2)]
        return "\n".join(f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c}".rstrip() for a, b, c in lines)


def choose(defaults: Sequence[Default], given: Mapping[str, Any] | None) -> tuple[dict[str, Prior], PriorTable]:
    """The defaults, replaced where `given` names a site (or its alias) with `(kind, number, ...)`.

    Raises `UnknownName` for a site or kind that is none, `InputError` for wrong parameters or support.
    """
    given = dict(given or {})
    aliases = {default.alias: default.site for default in defaults if default.alias}
    sites = [default.site for default in defaults]
    for name in given:
        if name not in sites and name not in aliases:
            raise UnknownName("prior", str(name), sites)
    chosen = {aliases.get(name, name): specification for name, specification in given.items()}
    if len(chosen) < len(given):
        raise InputError("A prior is given twice, under the name of its site and as sd(...)")
    priors, rows = {}, []
    for default in defaults:
        own = default.site in chosen
        prior = _read(chosen[default.site], default) if own else default.prior
        priors[default.site] = prior
        rows.append((default.site, prior, "given" if own else default.reason))
    return priors, PriorTable(tuple(rows))


def _read(specification: Any, default: Default) -> Prior:
    site = default.site
    if not isinstance(specification, tuple | list) or not specification or not isinstance(specification[0], str):
        raise InputError(
            f"The prior of {site!r} must read ('normal', 0, 1), a name and its numbers: got {specification!r}"
        )
    name, *values = specification
    allowed = {
        k: v
        for k, v in KINDS.items()
        if v.support == default.support or (default.support, v.support) == ("real", "positive")
    }
    if name not in KINDS:
        raise UnknownName("prior distribution", name, allowed)
    if name not in allowed:
        raise InputError(f"{site!r} is {default.support}: its prior is one of {', '.join(allowed)}, not {name}")
    kind = KINDS[name]
    if len(values) != len(kind.parameters):
        raise InputError(
            f"The prior {name} of {site!r} takes ({', '.join(kind.parameters)}), got {len(values)} numbers"
        )
    for parameter, value in zip(kind.parameters, values, strict=True):
        _check_parameter(site, parameter, value, parameter in kind.positive, default.shape)
    return make_prior(name, *values)


def _check_parameter(site: str, parameter: str, value: Any, positive: bool, shape: tuple[int, ...]) -> None:
    try:
        array = np.asarray(value, dtype=float)
    except (TypeError, ValueError) as error:
        raise InputError(f"{parameter} of the prior of {site!r} must be a number, got {value!r}") from error
    if array.shape not in ((), shape):
        raise InputError(f"{parameter} of the prior of {site!r} must have shape () or {shape}, got {array.shape}")
    if not np.all(np.isfinite(array)) or (positive and not np.all(array > 0)):
        raise InputError(
            f"{parameter} of the prior of {site!r} must be {'positive and ' * positive}finite, got {value!r}"
        )
