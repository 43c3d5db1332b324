"""NumPyro constraints read as Jensen supports."""

from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from jensen.core import InputError, Support
from jensen.core.support import KINDS, integer


def _bound(value: Any) -> Any:
    """A concrete bound as an array, None where it is traced (it may depend on other unknowns)."""
    if isinstance(value, jax.core.Tracer):
        return None
    return jnp.asarray(np.asarray(value), jnp.result_type(float))


def from_constraint(constraint: Any, name: str) -> tuple[Support, bool]:
    """(support, fixed): `fixed` is False if a bound is only known inside the model, so that the model must be run.

    Raises `InputError` for a constraint without a bijection from R^n that is none of whole numbers either.
    """
    from numpyro.distributions import constraints

    while isinstance(constraint, constraints.independent):
        constraint = constraint.base_constraint
    if constraint in (constraints.real, constraints.real_vector, constraints.real_matrix):
        return Support("real"), True
    if isinstance(constraint, type(constraints.zero_sum(1))):
        return Support("zero_sum", (), constraint.event_dim), True
    if constraint is constraints.unit_interval:
        zero, one = jnp.zeros((), jnp.result_type(float)), jnp.ones((), jnp.result_type(float))
        return Support("interval", (zero, one)), True
    if constraint.is_discrete:
        return _whole_numbers(constraint, name)
    for kind in KINDS:
        singleton = getattr(constraints, kind)
        if not isinstance(singleton, type) and constraint is singleton:
            return Support(kind), True
    low, high = _bounds(constraint)
    nan = jnp.full((), jnp.nan, jnp.result_type(float))
    if isinstance(constraint, type(constraints.interval(0.0, 1.0)) | type(constraints.open_interval(0.0, 1.0))):
        if low is None or high is None:
            return Support("interval", (nan, nan)), False
        return Support("interval", (low, high)), True
    if isinstance(constraint, type(constraints.greater_than(0.0)) | type(constraints.greater_than_eq(0.0))):
        return (Support("greater_than", (nan,)), False) if low is None else (Support("greater_than", (low,)), True)
    if isinstance(constraint, type(constraints.less_than(0.0)) | type(constraints.less_than_eq(0.0))):
        return (Support("less_than", (nan,)), False) if high is None else (Support("less_than", (high,)), True)
    raise InputError(
        f"Site {name!r} has support {constraint}, for which no bijection from R^n is known: reparameterise the site, "
        "or write the model as a log density of unconstrained arrays (targets.from_log_density)"
    )


def _bounds(constraint: Any) -> tuple[Any, Any]:
    low, high = (_bound(getattr(constraint, name, jnp.nan)) for name in ("lower_bound", "upper_bound"))
    return low, high


def _whole_numbers(constraint: Any, name: str) -> tuple[Support, bool]:
    from numpyro.distributions import constraints

    nan = jnp.full((), jnp.nan, jnp.result_type(float))
    if constraint is constraints.boolean:
        return integer(0, 1), True
    low, high = _bounds(constraint)
    if isinstance(constraint, type(constraints.integer_interval(0, 1))):
        if low is None or high is None:
            return Support("integer", (nan, nan)), False
        return Support("integer", (low, high)), True
    from jensen.targets._one_hot import is_one_hot

    if is_one_hot(constraint):
        return Support("one_hot"), True
    if isinstance(constraint, type(constraints.integer_greater_than(0)) | type(constraints.nonnegative_integer)):
        return Support("count", (nan if low is None else low,)), low is not None
    raise InputError(
        f"Site {name!r} is discrete, with support {constraint}, which is no range of whole numbers: write it with "
        "Categorical, Bernoulli, Binomial or Poisson sites, or jensen.targets.OneHotCategorical for one-hot vectors"
    )
