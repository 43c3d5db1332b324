"""IVON: variational inference at the cost of Adam."""

from typing import Any, ClassVar, Self

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jensen.core import (
    Algorithm,
    Clock,
    DensityPosterior,
    InputError,
    LogDensity,
    PointPosterior,
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
from jensen.families import DiagonalGaussian

PATIENCE = 10  # steps in a row whose gradient is not finite before the run fails


class IVONState(eqx.Module):
    """The mean m, the precision n h, the momentum g of the gradient, its steps, and those skipped in a row."""

    mean: Float[Array, " d"]
    precision: Float[Array, " d"]
    momentum: Float[Array, " d"]
    taken: Int[Array, ""]
    skipped: Int[Array, ""]


class IVON(Algorithm):
    """m <- m - r g / h;  h <- h + v (c - h) + v^2 (c - h)^2 / (2 h):  q = N(m, diag(1 / (n h))).

    With the loss l = -log p / n: the mean gradient g <- b g + (1 - b) grad l(z), at draws z = m + s eps with
    s^2 = 1 / (n h), debiased, and the curvature c = eps grad l(z) / s, whose mean is the diagonal of E_q[hess l]
    (Price, Stein). The last term of h is the exponential map of the geometry of precisions: h never falls below h / 2,
    whatever c is. One gradient a step and draw: the cost of Adam, for a mean-field posterior in its place.

    n scales the loss and nothing else: it is the number of rows of a target that has rows, else 1, so that settings
    carry over from networks trained by Adam. The prior is the target's own and counts in full; there is no weight decay
    besides.

    `learning_rate`: r h_0, so that the first step is a plain gradient step of this rate. `momentum`: b.
    `curvature_rate`: v. Of steps that do not shrink, h is biased upwards, by a share of about v / 2 times the relative
    variance of c; a run of T steps wants v of 5 / T or more, or h has not left its start. `settling`: the last
    part of the run in which r and v fall to zero as half a cosine, which takes noise and bias out.
    `initial_curvature`: h_0, near the curvature of l if it is known. `clip`: the largest |g / h| of a coordinate.
    `num_draws`: draws a step.

    Takes minibatches. Only marginal spreads come out, too small where the posterior is correlated. For a hundred
    unknowns or fewer `FixedSampleVI` finds the same optimum in tens of steps.

    Raises `InputError` for settings out of their ranges.

    Source: Shen, Daheim, Cong, Nickl, Marconi et al. (2024), Variational learning is effective for large deep networks;
    the retraction: Lin, Schmidt and Khan (2020).
    """

    needs: ClassVar[Any] = LogDensity
    gives: ClassVar[type] = DensityPosterior
    exact: ClassVar[bool] = False
    num_draws: int = eqx.field(static=True, default=1)
    learning_rate: Scalar = scalar_field(0.1)
    momentum: Scalar = scalar_field(0.9)
    curvature_rate: Scalar = scalar_field(1e-3)
    settling: Scalar = scalar_field(0.5)
    initial_curvature: Scalar = scalar_field(1.0)
    clip: Scalar = scalar_field(1e3)

    def __check_init__(self):
        require(self.num_draws >= 1, f"IVON.num_draws must be at least 1, got {self.num_draws}", InputError)
        for name, low, high in (
            ("learning_rate", 0.0, jnp.inf),
            ("momentum", -1e-12, 1.0),
            ("curvature_rate", 0.0, 1.0),
            ("settling", -1e-12, 1.0 + 1e-12),
            ("initial_curvature", 0.0, jnp.inf),
            ("clip", 0.0, jnp.inf),
        ):
            value = getattr(self, name)
            if not isinstance(value, jax.core.Tracer):
                words = f"IVON.{name} is {float(value)}, out of its range ({max(low, 0):g}, {high:g})"
                require(low < float(value) < high, words, InputError)

    @property
    def default_steps(self) -> int:
        return 20_000

    @property
    def cooldown(self) -> float:
        return float(self.settling)

    def init(self, key: PRNGKey, target: Any, start: Posterior) -> IVONState:
        mean = start.mean_and_cov()[0]
        precision = jnp.full(mean.shape, _size(target) * self.initial_curvature, mean.dtype)
        if not isinstance(start, PointPosterior):
            variance = jnp.diagonal(start.mean_and_cov()[1])
            precision = jnp.where(variance > 0, 1 / jnp.where(variance > 0, variance, 1.0), precision)
        zero = jnp.zeros((), jnp.int32)
        return IVONState(mean, precision, jnp.zeros_like(mean), zero, jnp.copy(zero))

    def step(self, key: PRNGKey, state: IVONState, target: Any, clock: Clock) -> tuple[IVONState, Step]:
        m, n = state.mean, _size(target)
        h, scale = state.precision / n, jax.lax.rsqrt(state.precision)

        def draw(key: PRNGKey) -> tuple[Array, Array, Array]:
            noise = jax.random.normal(key, m.shape, m.dtype)
            value, slope = jax.value_and_grad(lambda z: -target.log_density(z) / n)(m + scale * noise)
            return value, slope, noise * slope / scale

        values, slopes, curvatures = jax.vmap(draw)(jax.random.split(key, self.num_draws))
        value, gradient, estimate = jnp.mean(values), jnp.mean(slopes, 0), jnp.mean(curvatures, 0)
        usable = jnp.all(jnp.isfinite(gradient)) & jnp.isfinite(value)

        shrink = self._shrink(clock)
        taken = state.taken + 1
        momentum = self.momentum * state.momentum + (1 - self.momentum) * gradient
        change = shrink * self.curvature_rate * (estimate - h)
        curvature = h + change + 0.5 * change**2 / h
        direction = momentum / (1 - self.momentum**taken) / curvature
        direction = jnp.clip(direction, -self.clip, self.clip)
        moved = m - shrink * self.learning_rate * self.initial_curvature * direction
        skipped = jnp.where(usable, 0, state.skipped + 1)
        new = IVONState(moved, n * curvature, momentum, taken, jnp.zeros_like(skipped))
        old = IVONState(m, state.precision, state.momentum, state.taken, skipped)
        kept = jax.tree.map(lambda a, b: jnp.where(usable, a, b), new, old)
        stop = jnp.where(skipped >= PATIENCE, StopCode.FAILED, StopCode.CONTINUE)
        entropy = DiagonalGaussian(m, jnp.log(scale)).entropy()
        return kept, make_step(n * value - entropy, stop=stop, curvature=jnp.mean(curvature))

    def _shrink(self, clock: Clock) -> Scalar:
        past = jnp.clip((clock.fraction - (1 - self.settling)) / jnp.maximum(self.settling, 1e-6), 0.0, 1.0)
        return 0.5 * (1 + jnp.cos(jnp.pi * past))

    def posterior(self, state: IVONState, draws: Any, space: Space) -> DensityPosterior:
        return DensityPosterior(space, DiagonalGaussian(state.mean, -0.5 * jnp.log(state.precision)))

    def cautious(self) -> Self:
        return eqx.tree_at(lambda a: a.learning_rate, self, 0.5 * self.learning_rate)


def _size(target: Any) -> Any:
    return getattr(target, "num_rows", 1)
