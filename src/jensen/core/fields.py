"""Settings as data: continuous ones are array leaves, so that a new value compiles nothing."""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jensen.core.haste import trace_state_clean

if TYPE_CHECKING:
    Scalar = Any  # a setting may be given as a Python float: its field's converter makes the array
else:
    Scalar = Float[Array, ""]


def placed(number: np.generic) -> Array:
    """A number as an array on the default device, without a program of its own: the same one wherever it is asked."""
    return _placed(number.tobytes(), number.dtype, jax.config.jax_default_device)  # pyright: ignore[reportAttributeAccessIssue]


@functools.lru_cache(16)  # the numbers of a run, and no more: fits leave no arrays behind
def _placed(data: bytes, dtype: np.dtype, device: Any) -> Array:
    return jax.device_put(np.frombuffer(data, dtype)[0])


def as_scalar(value: Any) -> Scalar:
    """`value` as a strongly typed 0-d array of JAX's default float type (a weak type would compile once more)."""
    if isinstance(value, jax.core.Tracer | jax.Array) and jnp.issubdtype(value.dtype, jnp.floating):
        return value
    if isinstance(value, int | float) and trace_state_clean():
        return placed(jnp.result_type(float).type(value))
    return jnp.asarray(value, dtype=jnp.result_type(float))


def scalar_field(default: float | None = None, **kwargs: Any) -> Any:
    """A continuous setting of an `eqx.Module`: a 0-d float array leaf (`required` where no default is given)."""
    if default is None:
        return eqx.field(converter=as_scalar, **kwargs)
    return eqx.field(default=default, converter=as_scalar, **kwargs)


def require(condition: bool, message: str | Callable[[], str], error: type[Exception] | None = None) -> None:
    """Raise `error` (`InputError`) with `message` unless `condition`; for checks at the door of concrete values."""
    from jensen.core.errors import InputError

    if not condition:
        raise (error or InputError)(message() if callable(message) else message)


def check_count(name: str, value: Any, least: int = 1) -> None:
    """Refuse a number of draws, weights or parts that is no whole number of at least `least`. Raises `InputError`."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    require(whole, f"{name} must be a whole number, got {value!r}")
    require(bool(value >= least), f"{name} must be at least {least}, got {value}")
