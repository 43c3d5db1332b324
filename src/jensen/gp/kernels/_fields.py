"""Fields of kernels."""

from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

if TYPE_CHECKING:
    Number = Any  # may be given as Python floats and lists: the field's converter makes the array
    Numbers = Any
else:
    Number = Float[Array, ""]
    Numbers = Float[Array, "*d"]


def as_real(value: Any) -> Array:
    """`value` as a strongly typed array of JAX's default float type."""
    return jnp.asarray(value, jnp.result_type(float))


def hyperparameter(default: Any = 1.0, **metadata: bool) -> Any:
    """A trained number or vector, positive unless `real=True`; `fixed=True` keeps it from being trained."""
    return eqx.field(default=default, converter=as_real, metadata=metadata)
