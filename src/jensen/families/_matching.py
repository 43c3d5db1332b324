"""Whether the sites of a guide match the unknowns of a target."""

import dataclasses
import math
from typing import Any

import jax
import numpy as np

from jensen.core import InputError, Space, Support, Variable
from jensen.core.support import describe
from jensen.targets._numpyro import Model
from jensen.targets._supports import from_constraint

_LINE = {
    "real": (-math.inf, math.inf),
    "positive": (0.0, math.inf),
    "nonnegative": (0.0, math.inf),
    "softplus_positive": (0.0, math.inf),
}


@dataclasses.dataclass(frozen=True)
class Site:
    """A sample site of a guide: the shape of its value, its support, whether the bounds of that are constants."""

    shape: tuple[int, ...]
    support: Support
    fixed: bool
    reparameterised: bool


def read_sites(guide: Model) -> dict[str, Site]:
    """The sample sites of a guide, in order; nothing is computed. Raises `InputError` for what no guide may have."""
    found: dict[str, Any] = {}

    def abstract(key: Any) -> None:
        from jensen.targets._guides import refuse

        for name, message in guide.trace(lambda fn: fn, key).items():
            refuse(message)
            if message["type"] == "sample":
                found[name] = message["fn"]
                _check_estimator(name, message)

    jax.eval_shape(abstract, jax.random.key(0))
    return {
        name: Site(tuple(fn.shape()), *from_constraint(fn.support, name), bool(fn.has_rsample))
        for name, fn in found.items()
    }


def _check_estimator(name: str, message: Any) -> None:
    estimator = message["infer"].get("estimator")
    if estimator is None:
        return
    if not hasattr(estimator, "check"):
        raise InputError(
            f"The estimator of site {name!r} is {estimator!r}, which is none of jensen.gradient_estimators.sites: give "
            "an instance, such as Enumeration(), ScoreFunction() or Reparameterised()"
        )
    estimator.check(name, message["fn"])


def check_sites(sites: dict[str, Site], space: Space) -> None:
    """Refuse sites that do not match the unknowns of a space: see `ProgramBuilder.check`."""
    missing = [repr(n) for n in space.names if n not in sites]
    extra = [repr(n) for n in sites if n not in space.names]
    if missing or extra:
        words = [f"it has no site for {', '.join(missing)}"] if missing else []
        words += [f"{', '.join(extra)} is no unknown of the model"] if extra else []
        raise InputError(
            f"The guide does not match the model: {' and '.join(words)}. Unknowns: {', '.join(space.names)}"
        )
    for v in space.variables:
        _check_site(sites[v.name], v)


def _check_site(site: Site, v: Variable) -> None:
    if site.shape != v.shape:
        raise InputError(f"Site {v.name!r} of the guide has shape {site.shape}, the unknown {v.shape}")
    if any(bool(np.any(np.isnan(b))) for b in v.support.bounds):
        raise InputError(
            f"The support of {v.name!r} depends on other unknowns, which no guide can follow: reparameterise the model"
        )
    wanted, given = describe(v.support), describe(site.support)
    if site.support.discrete != v.support.discrete:
        raise InputError(
            f"Site {v.name!r} of the guide has support {given}, which does not overlap the model's {wanted}"
        )
    low, high = _bounds(v.support), _bounds(site.support) if site.fixed else None
    if low is None or high is None:
        if site.fixed and site.support.kind != v.support.kind and v.support.kind != "circular":
            raise InputError(
                f"Site {v.name!r} of the guide has support {given}, the model {wanted}: they do not overlap"
            )
    else:
        (lower, upper), (lowest, highest) = low, high
        if np.any(lowest > upper) or np.any(highest < lower):
            raise InputError(
                f"Site {v.name!r} of the guide has support {given}, which does not overlap the model's {wanted}"
            )
        if np.any(lowest < lower) or np.any(highest > upper):
            raise InputError(
                f"Site {v.name!r} of the guide has support {given}, and the model's is only {wanted}: draws outside it "
                "have no density; use a distribution within it"
            )


def _bounds(support: Support) -> tuple[np.ndarray, np.ndarray] | None:
    """Lowest and highest value; None for a support that is no range."""
    if support.kind in _LINE:
        low, high = _LINE[support.kind]
        return np.asarray(low), np.asarray(high)
    bounds = [np.asarray(b) for b in support.bounds]
    match support.kind:
        case "interval" | "integer":
            return bounds[0], bounds[1]
        case "greater_than" | "count":
            return bounds[0], np.asarray(math.inf)
        case "less_than":
            return np.asarray(-math.inf), bounds[0]
    return None
