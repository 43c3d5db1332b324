"""What natural-gradient descents of a Gaussian share: the rate, when it falls, and when to stop."""

from typing import Self

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jensen.core import Algorithm, Clock, InputError, Scalar, StopCode, require


class NaturalGradient(Algorithm):
    """Steps of `rate` r in (0, 1], which settle over the last fraction `settling` of a run, until `tolerance`.

    Raises `InputError` for a rate outside (0, 1].
    """

    rate: eqx.AbstractVar[Scalar]
    settling: eqx.AbstractVar[Scalar]
    tolerance: eqx.AbstractVar[Scalar]

    def __check_init__(self):
        if not isinstance(self.rate, jax.core.Tracer):
            rate = float(self.rate)
            require(0 < rate <= 1, f"{type(self).__name__}.rate must be in (0, 1], got {rate}", InputError)

    @property
    def cooldown(self) -> float:
        return float(self.settling)

    def settled(self, clock: Clock) -> Float[Array, ""]:
        """Steps since the rate began to fall, zero before."""
        return jnp.maximum(clock.t - (1 - self.settling) * clock.total.astype(self.rate.dtype), 0.0)

    def verdict(self, residual: Float[Array, ""], dimension: int) -> Int[Array, ""]:
        """Whether the residual is below the tolerance, or below what rounding alone leaves."""
        floor = 100 * dimension * jnp.finfo(residual.dtype).eps
        return jnp.where(residual < jnp.maximum(self.tolerance, floor), StopCode.CONVERGED, StopCode.CONTINUE)

    def cautious(self) -> Self:
        return eqx.tree_at(lambda a: a.rate, self, 0.5 * self.rate)
