"""Every order of differentiation, in both directions, for functions that only forward mode can differentiate."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Function = Callable[[Float[Array, " p"]], Array]


def by_forward_mode(f: Function) -> Function:
    """`f` of a vector x (p,), its derivatives taken from one pass that carries p tangents beside the value.

    An adaptive ODE solver is a loop of unknown length, which reverse mode can only replay at several times the cost.
    For p no greater than some ten inputs the whole Jacobian by forward mode is the cheaper way, and linear in the
    tangent, so that JAX transposes it for reverse mode. Each derivative is again such a function: Hessians work, and
    derivatives of any order.
    """

    @jax.custom_jvp
    def wrapped(x: Float[Array, " p"]) -> Array:
        return f(x)

    @wrapped.defjvp
    def rule(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
        (x,), (dx,) = primals, tangents
        both = by_forward_mode(_value_and_jacobian(f))(x)
        return both[..., 0], both[..., 1:] @ dx

    return wrapped


def _value_and_jacobian(f: Function) -> Function:
    """x -> [f(x), f'(x)] along a new last axis of 1 + p."""

    def both(x: Float[Array, " p"]) -> Array:
        def twice(x: Float[Array, " p"]) -> tuple[Array, Array]:
            value = f(x)
            return value, value

        jacobian, value = jax.jacfwd(twice, has_aux=True)(x)
        return jnp.concatenate([value[..., None], jacobian], axis=-1)

    return both
