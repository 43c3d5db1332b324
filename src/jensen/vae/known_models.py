"""Known, incomplete models of rows: what a law says that they should be, given a few parameters."""

import abc
import math
from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jensen.core import InputError

# of the prior of a parameter, in ranges: three standard deviations of the uniform law on the range
SPREAD = math.sqrt(3) / 2
FARTHEST = 4.0  # standard deviations of the prior: a law asked far beyond its range may overflow

Added = Callable[[Float[Array, ""], Float[Array, " s"]], Float[Array, " s"]]


class KnownModel(eqx.Module):
    """x = g(theta, given): a law with parameters theta, whose usual range is `low` to `high`, each (p,).

    As latents the parameters are z = (theta - middle) / (sqrt(3)/2 (high - low)), so that a standard normal prior of z
    is a broad one of theta, with three times the standard deviation of the range's uniform law: theta may leave the
    range, by up to four standard deviations, and a law that holds for positive numbers alone must see to it. Nothing
    of a known model is trained.
    """

    low: eqx.AbstractVar[Float[Array, " p"]]
    high: eqx.AbstractVar[Float[Array, " p"]]

    @abc.abstractmethod
    def values(
        self, theta: Float[Array, " p"], given: Float[Array, " m"], added: Added | None = None
    ) -> Float[Array, " n"]:
        """The row at theta; `added(t, y)` is what else drives a law that has a state y."""

    @property
    def size(self) -> int:
        """p, the number of parameters."""
        return self.low.shape[0]

    def parameters(self, z: Float[Array, " p"]) -> Float[Array, " p"]:
        """theta of latents."""
        low, high = jax.lax.stop_gradient((self.low, self.high))
        return 0.5 * (low + high) + SPREAD * (high - low) * jnp.clip(z, -FARTHEST, FARTHEST)

    def within_range(self, u: Float[Array, " p"]) -> Float[Array, " p"]:
        """theta at shares u in [0, 1] of the range."""
        low, high = jax.lax.stop_gradient((self.low, self.high))
        return low + (high - low) * u


class ClosedForm(KnownModel):
    """x = function(theta, given), a function of JAX by name; it has no state that anything could be added to.

    Raises `InputError` for a range that is empty, and where something is added.
    """

    low: Float[Array, " p"]
    high: Float[Array, " p"]
    function: Callable[[Array, Array], Array] = eqx.field(static=True)

    def __check_init__(self):
        check_range(self.low, self.high)

    def values(
        self, theta: Float[Array, " p"], given: Float[Array, " m"], added: Added | None = None
    ) -> Float[Array, " n"]:
        if added is not None:
            raise InputError("A law in closed form has no state that a network could drive: take `outside` alone")
        return self.function(theta, given)


class Trajectory(KnownModel):
    """x = y_j(t_1), ..., y_j(t_n) of dy/dt = field(t, y, theta) + added(t, y), y(t_0) = start(given), j = `observed`.

    Solved by a step of `solver` (an explicit method of diffrax; Tsitouras 5(4) where None) from each time to the next,
    so that cost and derivatives are fixed: put the `times` close enough together, or see by halving them. `field` and
    `start` are functions of JAX by name. Several observed components lie side by side, time by time.

    Raises `InputError` for a range that is empty, and for times that do not rise.
    """

    low: Float[Array, " p"]
    high: Float[Array, " p"]
    times: Float[Array, " n1"]
    field: Callable[[Array, Array, Array], Array] = eqx.field(static=True)
    start: Callable[[Array], Array] = eqx.field(static=True)
    observed: tuple[int, ...] = eqx.field(static=True, default=(0,))
    solver: Any = None

    def __check_init__(self):
        check_range(self.low, self.high)
        if isinstance(self.times, jax.core.Tracer):
            return
        if self.times.ndim != 1 or len(self.times) < 2 or not np.all(np.diff(np.asarray(self.times)) > 0):
            raise InputError(f"A trajectory wants two or more times that rise, t_0 first, got shape {self.times.shape}")

    @property
    def num_values(self) -> int:
        """n, the length of a row."""
        return (self.times.shape[0] - 1) * len(self.observed)

    def values(
        self, theta: Float[Array, " p"], given: Float[Array, " m"], added: Added | None = None
    ) -> Float[Array, " n"]:
        solver = diffrax.Tsit5() if self.solver is None else self.solver

        def field(t: Any, y: Any, args: Any) -> Array:
            known = self.field(t, y, theta)
            return known if added is None else known + added(t, y)

        term = diffrax.ODETerm(field)

        def step(y: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
            state = solver.init(term, *ends, y, None)
            y = solver.step(term, *ends, y, None, state, made_jump=True)[0]
            return y, y[jnp.asarray(self.observed)]

        times = jax.lax.stop_gradient(self.times)
        return jax.lax.scan(step, self.start(given), (times[:-1], times[1:]))[1].reshape(-1)


def check_range(low: Array, high: Array) -> None:
    """Raises `InputError` unless both are vectors of one length, `low` below `high`."""
    if low.ndim != 1 or low.shape != high.shape:
        raise InputError(f"The range of parameters wants vectors low and high, got {low.shape} and {high.shape}")
    if not isinstance(low, jax.core.Tracer) and not bool(jnp.all(low < high)):
        raise InputError(f"The range of parameters is empty: low {low} is not below high {high}")
