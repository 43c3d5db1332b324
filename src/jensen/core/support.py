"""Supports of unknowns and their bijections from R^n, as plain data that can be saved.

The bijections themselves are NumPyro's (`biject_to`), imported only where a support other than the real line is met.
Whole numbers have none: their coordinates of z hold the numbers themselves.
"""

from typing import Any

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jensen.core.errors import InputError

KINDS = (
    "real",
    "positive",
    "nonnegative",
    "greater_than",
    "less_than",
    "interval",
    "simplex",
    "ordered_vector",
    "positive_ordered_vector",
    "corr_cholesky",
    "corr_matrix",
    "lower_cholesky",
    "softplus_lower_cholesky",
    "scaled_unit_lower_cholesky",
    "softplus_positive",
    "positive_definite",
    "circular",
    "zero_sum",
)
DISCRETE_KINDS = ("integer", "count", "one_hot")
_BOUNDED = {"greater_than": 1, "less_than": 1, "interval": 2, "integer": 2, "count": 1}


class Support(eqx.Module):
    """A set of values, a kind and its bounds.

    Kinds are NumPyro's names of constraints. `bounds` holds `(lower,)` for `greater_than`, `(upper,)` for `less_than`,
    `(lower, upper)` for `interval`; bounds are arrays that broadcast with the value. Three kinds are discrete:
    `integer`, the whole numbers lower..upper, `count`, those from `(lower,)` on, and `one_hot`, vectors along the last
    axis of which one entry is 1 and the others 0.
    Raises `InputError` for an unknown kind or a wrong number of bounds.
    """

    kind: str = eqx.field(static=True)
    bounds: tuple[Array, ...] = ()
    event_dim: int = eqx.field(static=True, default=0)  # of zero_sum only

    def __check_init__(self):
        if self.kind not in (*KINDS, *DISCRETE_KINDS):
            raise InputError(f"Unknown support {self.kind!r}: one of {', '.join((*KINDS, *DISCRETE_KINDS))}")
        if len(self.bounds) != _BOUNDED.get(self.kind, 0):
            raise InputError(f"Support {self.kind!r} takes {_BOUNDED.get(self.kind, 0)} bounds, got {len(self.bounds)}")

    @property
    def discrete(self) -> bool:
        """Whether values are whole numbers."""
        return self.kind in DISCRETE_KINDS

    def holds(self, x: Float[Array, "..."]) -> Bool[Array, "..."]:
        """Whether values are whole numbers within the bounds of a discrete support."""
        if self.kind == "one_hot":
            return ((x == 0) | (x == 1)) & (jnp.sum(x, axis=-1, keepdims=True) == 1)
        inside = (x == jnp.round(x)) & (x >= self.bounds[0])
        return inside & (x <= self.bounds[1]) if len(self.bounds) > 1 else inside

    def spread(self, share: Float[Array, "..."]) -> Float[Array, "..."]:
        """Whole numbers of a discrete support, uniform for shares that are uniform on (0, 1); of counts the first four.

        A bound that depends on other unknowns (NaN) counts as 0 from below and 1 from above.
        """
        if self.kind == "one_hot":
            return jax.nn.one_hot(jnp.argmax(share, axis=-1), share.shape[-1], dtype=share.dtype)
        lower = jnp.nan_to_num(self.bounds[0], nan=0.0)
        upper = jnp.nan_to_num(self.bounds[1], nan=1.0) if len(self.bounds) > 1 else lower + 3.0
        return jnp.clip(jnp.floor(lower + share * (upper - lower + 1.0)), lower, upper).astype(share.dtype)

    def bijection(self) -> Any:
        """NumPyro's transform from R^n onto this support. Raises `InputError` for a discrete one: there is none."""
        if self.discrete:
            raise InputError(f"A support of whole numbers ({describe(self)}) is no image of R^n")
        from numpyro.distributions import biject_to, constraints

        if self.kind == "zero_sum":
            return biject_to(constraints.zero_sum(self.event_dim))
        constraint = getattr(constraints, self.kind)
        return biject_to(constraint(*self.bounds) if self.bounds else constraint)

    def constrain(self, u: Float[Array, "..."]) -> Float[Array, "..."] | Int[Array, "..."]:
        """The value in the support of the unconstrained `u`; of a discrete support the nearest one."""
        if self.kind == "one_hot":
            return jax.nn.one_hot(jnp.argmax(u, axis=-1), u.shape[-1], dtype=jnp.int32)
        if self.discrete:
            return jnp.round(u).astype(jnp.int32)
        return u if self.kind == "real" else self.bijection()(u)

    def unconstrain(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        """The unconstrained array of the value `x`."""
        return x if self.kind == "real" or self.discrete else self.bijection()._inverse(x)

    def unconstrained_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the unconstrained array of a value of `shape`."""
        return shape if self.kind == "real" or self.discrete else tuple(self.bijection().inverse_shape(shape))


def real() -> Support:
    """The real line (or R^n)."""
    return Support("real")


def positive() -> Support:
    """The positive half line, by exp."""
    return Support("positive")


def interval(lower: Any, upper: Any) -> Support:
    """`lower < x < upper`, by a scaled logistic function."""
    dtype = jnp.result_type(float)
    return Support("interval", (jnp.asarray(lower, dtype), jnp.asarray(upper, dtype)))


def integer(lower: Any, upper: Any) -> Support:
    """The whole numbers `lower`..`upper`, both included."""
    dtype = jnp.result_type(float)
    return Support("integer", (jnp.asarray(lower, dtype), jnp.asarray(upper, dtype)))


def describe(support: Support) -> str:
    """A support in words: `real`, `interval(0, 1)`."""
    if not support.bounds:
        return support.kind

    def word(bound: Array) -> str:
        if isinstance(bound, jax.core.Tracer):
            return "?"
        values = np.unique(np.asarray(bound))
        return f"{values[0]:g}" if values.size == 1 else f"{values[0]:g}..{values[-1]:g}"

    return f"{support.kind}({', '.join(word(b) for b in support.bounds)})"
