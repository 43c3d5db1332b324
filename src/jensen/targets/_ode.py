"""Solutions of ordinary differential equations within a model."""

from collections.abc import Callable
from typing import Any, cast

import diffrax
import jax.numpy as jnp
from jaxtyping import Array, Float

MAX_STEPS = 2_000


def solve(
    field: Callable[[Float[Array, " k"]], Float[Array, " k"]], start: Float[Array, " k"], times: Float[Array, " n"]
) -> Float[Array, "n k"]:
    """y at `times` of dy/dt = field(y), y(0) = start: Tsitouras 5(4) with steps of a local error of 1e-6 of each y.

    Meant for logarithms, of which an absolute error is a relative one. Infinite from the time on at which `MAX_STEPS`
    are used up. Differentiable by forward mode.
    """
    # single precision cannot tell errors below some 50 roundings apart, and would halve its step for ever
    tolerance = max(1e-6, 50 * float(jnp.finfo(start.dtype).eps))
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda t, y, args: field(y)),
        diffrax.Tsit5(),
        t0=0.0,
        t1=times[-1],
        dt0=None,
        y0=start,
        saveat=diffrax.SaveAt(ts=times),
        stepsize_controller=diffrax.PIDController(rtol=0.0, atol=tolerance),
        adjoint=diffrax.ForwardMode(),
        max_steps=MAX_STEPS,
        throw=False,
    )
    return cast(Array, cast(Any, solution).ys)
