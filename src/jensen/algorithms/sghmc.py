"""Stochastic-gradient Hamiltonian Monte Carlo."""

from typing import Any, ClassVar, Self

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jensen.algorithms._starts import start_points
from jensen.core import (
    Algorithm,
    Clock,
    DrawsPosterior,
    InputError,
    LogDensity,
    Posterior,
    PRNGKey,
    Scalar,
    Space,
    Step,
    StopCode,
    make_step,
    require,
    scalar_field,
)

MEMORY = 100.0  # gradients over which their running mean square forgets
PATIENCE = 20  # steps in a row with a gradient that is not finite before the run fails


class SGHMCState(eqx.Module):
    """Places and velocities of all chains, the mean square of the gradient and how many are in it, and what is lost.

    `num_warmup`: how many of the first draws are to be dropped. `skipped`: steps in a row without a finite gradient.
    """

    place: Float[Array, "chains d"]
    velocity: Float[Array, "chains d"]
    square: Float[Array, " d"]
    count: Float[Array, ""]
    num_warmup: Int[Array, ""]
    skipped: Int[Array, ""]


class SGHMC(Algorithm):
    """v <- (1 - c) v + e^2 M^-1 grad log p(z) + N(0, (1 - (1 - c)^2) e^2 M^-1);  z <- z + v: an underdamped diffusion.

    Friction c drains what noise puts in, and the noise of a minibatch's gradient with it; no proposal is refused, so
    that an estimate of the gradient is enough. M^-1 = 1 / sqrt(E grad^2), by a running mean over chains and the last
    100 gradients, adapted in the first `warmup` share of the run alone, whose draws are dropped (adapting on would
    change what is sampled). The mass is that of log p itself, not of a mean over rows: the temperature is 1.

    `step_size`: e; the bias grows like (e / s)^2 M^-1 / 4 for a posterior standard deviation s, the time to cross the
    posterior like s / e. `friction`: c in (0, 1): small ones move far, large ones forget a poor gradient. `leaps`:
    updates a step of the loop, which keeps one draw of every chain. `chains` run side by side and share M.

    Biased at any step size: where the exact gradient is at hand and d is moderate use `NUTS`. Takes minibatches.

    Raises `InputError` for settings out of their ranges.

    Source: Chen, Fox and Guestrin (2014), Stochastic gradient Hamiltonian Monte Carlo; the scale by gradients:
    Springenberg, Klein, Falkner and Hutter (2016), Bayesian optimization with robust Bayesian neural networks.
    """

    needs: ClassVar[Any] = LogDensity
    gives: ClassVar[type] = DrawsPosterior
    exact: ClassVar[bool] = False
    chains: int = eqx.field(static=True, default=4)
    leaps: int = eqx.field(static=True, default=10)
    step_size: Scalar = scalar_field(0.05)
    friction: Scalar = scalar_field(0.05)
    warmup: Scalar = scalar_field(0.5)

    def __check_init__(self):
        require(
            self.chains >= 1 and self.leaps >= 1,
            f"SGHMC.chains and leaps must be 1 or more, got {self.chains}, {self.leaps}",
        )
        for name, high in (("step_size", jnp.inf), ("friction", 1.0), ("warmup", 1.0)):
            value = getattr(self, name)
            if not isinstance(value, jax.core.Tracer):
                words = f"SGHMC.{name} is {float(value)}, out of its range (0, {high:g})"
                require(0 < float(value) < high, words, InputError)

    @property
    def lanes(self) -> int:
        return self.chains

    @property
    def default_steps(self) -> int:
        return 4000

    def init(self, key: PRNGKey, target: Any, start: Posterior) -> SGHMCState:
        place = start_points(key, target, start, self.chains)
        zero = jnp.zeros((), jnp.int32)
        square = jnp.zeros(place.shape[1], place.dtype)
        return SGHMCState(place, jnp.zeros_like(place), square, jnp.zeros((), place.dtype), zero, jnp.copy(zero))

    def step(self, key: PRNGKey, state: SGHMCState, target: Any, clock: Clock) -> tuple[SGHMCState, Step]:
        num_warmup = jnp.round(self.warmup * clock.total.astype(self.warmup.dtype)).astype(jnp.int32)
        adapting = clock.t < num_warmup

        def leap(state: SGHMCState, key: PRNGKey) -> tuple[SGHMCState, Array]:
            value, gradient = jax.vmap(jax.value_and_grad(target.log_density))(state.place)
            usable = jnp.all(jnp.isfinite(gradient), 1) & jnp.isfinite(value)
            count = jnp.minimum(state.count + 1, MEMORY)
            square = state.square + (jnp.mean(gradient**2, 0) - state.square) / count
            kept = adapting & jnp.all(usable)
            square, count = jnp.where(kept, square, state.square), jnp.where(kept, count, state.count)
            inverse_mass = jax.lax.rsqrt(jnp.maximum(square, jnp.finfo(square.dtype).tiny))
            noise = jax.random.normal(key, gradient.shape, gradient.dtype)
            loss = jnp.sqrt((1 - (1 - self.friction) ** 2) * inverse_mass)
            velocity = (1 - self.friction) * state.velocity + self.step_size**2 * inverse_mass * gradient
            velocity = velocity + self.step_size * loss * noise
            # from a place without a gradient back to the one before, at rest
            moved = jnp.where(usable[:, None], state.place + velocity, state.place - state.velocity)
            velocity = jnp.where(usable[:, None], velocity, 0.0)
            skipped = jnp.where(jnp.any(usable), 0, state.skipped + 1)
            return SGHMCState(moved, velocity, square, count, num_warmup, skipped), jnp.mean(value)

        state, values = jax.lax.scan(leap, state, jax.random.split(key, self.leaps))
        stop = jnp.where(state.skipped >= PATIENCE, StopCode.FAILED, StopCode.CONTINUE)
        return state, make_step(draw={"z": state.place}, stop=stop, log_density=values[-1])

    def posterior(self, state: SGHMCState, draws: Any, space: Space) -> DrawsPosterior:
        """The draws after warm-up; of a run that was stopped within it, the last half (hardly to be certified)."""
        taken = draws["z"].shape[0]
        drop = int(state.num_warmup)
        drop = drop if drop < taken else taken // 2
        return DrawsPosterior(space, jnp.swapaxes(jnp.asarray(draws["z"][drop:]), 0, 1))

    def cautious(self) -> Self:
        """The same with half the step size."""
        return eqx.tree_at(lambda a: a.step_size, self, 0.5 * self.step_size)
