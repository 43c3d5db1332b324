"""The no-U-turn sampler."""

from collections.abc import Callable
from typing import Any, ClassVar, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jensen.algorithms._adaptation import Dense, Diagonal, Metric, Moments, Phase, StepSize, phase
from jensen.algorithms._trajectory import Place, Trajectories, begin, end, turn
from jensen.core import (
    Clock,
    DrawsPosterior,
    InTurns,
    LogDensity,
    PointPosterior,
    Posterior,
    PRNGKey,
    Scalar,
    Space,
    Step,
    as_scalar,
    make_step,
    scalar_field,
)
from jensen.families.bijective import Bijective

TRIES = 8  # starting points tried a chain
DISPERSION = 1.5  # of starting points about the mean of a fitted posterior, for R-hat wants them wider than the target

__all__ = ["NUTS", "Dense", "Diagonal"]


class NUTSState(eqx.Module):
    """Every chain's place, in the transport's coordinates, and what the chains share.

    `scale`: C of the inverse mass matrix C C^T. `num_warmup`: how many of the first draws are to be dropped.
    """

    place: Place
    scale: Float[Array, "*d d"]
    moments: Moments
    step_size: StepSize
    num_warmup: Int[Array, ""]


class NUTS(InTurns):
    """Multinomial no-U-turn Hamiltonian Monte Carlo, `chains` in lock step, with one step size and metric for all.

    A step of the loop is one transition of every chain. In the first `warmup` share of the run the step size follows
    dual averaging to `target_acceptance` (mean over chains) and the metric follows the pooled covariance of the chains
    in doubling windows; these draws are dropped. Pooling needs 1 / `chains` of the usual warm-up for the same accuracy,
    so many short chains are cheaper than few long ones wherever gradients vectorise.

    `transport`: a fitted bijective family T (a Gaussian, a flow); the chains run in u = T^-1(z), where the posterior is
    near N(0, I), and need little warm-up. Gaussian: whitening; flow: NeuTra. `metric`: `Diagonal()` or `Dense()`.
    `max_doublings`: trajectories of at most 2^max_doublings leapfrog steps, a gradient each. Without a transport the
    first metric is the covariance of `start` where it has one.

    Exact in the limit of many steps for a smooth density with connected mass. Not for several far modes (use
    `TemperedSMC`), nor for minibatches (it refuses them).

    Source: Hoffman and Gelman (2014); Betancourt (2017); windows: Stan reference manual; transports: Parno and Marzouk
    (2018), Hoffman et al. (2019).
    """

    needs: ClassVar[Any] = LogDensity
    gives: ClassVar[type] = DrawsPosterior
    chains: int = eqx.field(static=True, default=4)
    metric: Metric = eqx.field(default_factory=Diagonal)
    transport: Bijective | None = None
    max_doublings: int = eqx.field(static=True, default=10)
    warmup: Scalar = scalar_field(0.5)
    target_acceptance: Scalar = scalar_field(0.8)

    @property
    def lanes(self) -> int:
        return self.chains

    @property
    def default_steps(self) -> int:
        return 2000

    def cautious(self) -> Self:
        """The same with half the distance of `target_acceptance` to 1."""
        return eqx.tree_at(lambda a: a.target_acceptance, self, 0.5 + 0.5 * self.target_acceptance)

    def _density(self, target: Any) -> Callable[[Float[Array, " d"]], Float[Array, ""]]:
        """The log density in the chains' own coordinates: log p(T(u)) + log |det dT/du|."""
        if self.transport is None:
            return target.log_density
        transform = self.transport.transform

        def pulled_back(u: Float[Array, " d"]) -> Float[Array, ""]:
            z, log_det = transform(u)
            return target.log_density(z) + log_det

        return pulled_back

    def init(self, key: PRNGKey, target: Any, start: Posterior) -> NUTSState:
        density = self._density(target)
        d = target.space.dimension
        unknown = self.transport is not None or isinstance(start, PointPosterior)
        cov = jnp.eye(d) if unknown else start.mean_and_cov()[1]
        position = self._start(key, target, density, start)
        log_density, gradient = jax.vmap(jax.value_and_grad(density))(position)
        step_size = StepSize.begin(-0.25 * jnp.log(as_scalar(float(d))))  # d^-1/4: exact scaling for a unit Gaussian
        place = Place(position, log_density, gradient)
        return NUTSState(place, self.metric.initial(cov), self.metric.empty(d), step_size, jnp.zeros((), jnp.int32))

    def _start(self, key: PRNGKey, target: Any, density: Any, start: Posterior) -> Float[Array, "chains d"]:
        if self.transport is None and isinstance(start, PointPosterior) and start.others is not None:
            points = jnp.concatenate([start.z[None], start.others])
            if points.shape[0] >= self.chains:
                return points[: self.chains]
        total = self.chains * TRIES
        if self.transport is not None:
            draws = DISPERSION * jax.vmap(self.transport.noise)(jax.random.split(key, total))
        elif isinstance(start, PointPosterior):
            draws = jax.vmap(target.start)(jax.random.split(key, total))
        else:
            mean = start.mean_and_cov()[0]
            draws = mean + DISPERSION * (start.sample_z(key, total) - mean)
        return first_finite(density, draws.reshape(TRIES, self.chains, -1))

    def open(self, key: PRNGKey, state: NUTSState, target: Any, clock: Clock) -> Trajectories:
        return begin(key, state.place, self.max_doublings)

    def turn(
        self, state: NUTSState, under_way: Trajectories, target: Any, clock: Clock, whole: bool = False
    ) -> Trajectories:
        step_size = jnp.exp(self._log_step(state, phase(clock, self.warmup)))
        return turn(under_way, self._density(target), step_size, state.scale, self.max_doublings, whole)

    def going(self, under_way: Trajectories) -> Bool[Array, ""]:
        return under_way.going

    def close(self, state: NUTSState, under_way: Trajectories, target: Any, clock: Clock) -> tuple[NUTSState, Step]:
        info, now = end(under_way), phase(clock, self.warmup)
        log_step = self._log_step(state, now)
        acceptance = jnp.mean(info.acceptance)
        after = info.place
        z = after.position if self.transport is None else jax.vmap(self.transport.transform)(after.position)[0]
        return self._adapt(state, after, acceptance, now), make_step(
            draw={"z": z, "diverging": info.diverging},
            step_size=jnp.exp(log_step),
            acceptance=acceptance,
            leapfrog_steps=jnp.max(info.leapfrog_steps),
            diverging=jnp.sum(info.diverging),
            log_density=jnp.mean(after.log_density),
        )

    @staticmethod
    def _log_step(state: NUTSState, now: Phase) -> Scalar:
        return jnp.where(now.adapting, state.step_size.log_step, state.step_size.log_average)

    def _adapt(self, state: NUTSState, after: Place, acceptance: Scalar, now: Phase) -> NUTSState:
        def choose(condition: Array, new: Any, old: Any) -> Any:
            return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)

        step_size = choose(now.adapting, state.step_size.update(acceptance, self.target_acceptance), state.step_size)
        moments = choose(now.learning, self.metric.add(state.moments, after.position), state.moments)
        scale = choose(now.window_ends, self.metric.estimate(moments), state.scale)
        step_size = choose(now.window_ends, StepSize.begin(step_size.log_average), step_size)
        moments = choose(now.window_ends, self.metric.empty(after.position.shape[1]), moments)
        return NUTSState(after, scale, moments, step_size, now.num_warmup)

    def posterior(self, state: NUTSState, draws: Any, space: Space) -> DrawsPosterior:
        """The draws after warm-up; of a run that was stopped within it, the last half (hardly to be certified)."""
        taken = draws["z"].shape[0]
        drop = int(state.num_warmup)
        drop = drop if drop < taken else taken // 2
        z, diverging = (np.swapaxes(draws[name][drop:], 0, 1) for name in ("z", "diverging"))
        return DrawsPosterior(space, jnp.asarray(z), jnp.asarray(diverging))


def first_finite(density: Callable[[Array], Array], draws: Float[Array, "tries chains d"]) -> Float[Array, "chains d"]:
    """Of each chain's `tries` points the first of finite log density (the very first where none is)."""
    values = jax.lax.map(jax.vmap(density), draws)
    chosen = jnp.argmax(jnp.isfinite(values), axis=0)
    return jnp.take_along_axis(draws, chosen[None, :, None], axis=0)[0]
