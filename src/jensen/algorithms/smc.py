"""Sequential Monte Carlo by tempering."""

from typing import Any, ClassVar, Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float

from jensen.algorithms._gaussian import start_gaussian
from jensen.algorithms._tempered import Move, Particles, evaluate
from jensen.core import (
    Algorithm,
    Clock,
    Compiled,
    DrawsPosterior,
    LogDensity,
    PointPosterior,
    Posterior,
    PRNGKey,
    Scalar,
    Space,
    Step,
    StopCode,
    as_scalar,
    make_step,
    scalar_field,
)
from jensen.families import Gaussian
from jensen.families.bijective import log_standard_normal

BISECTIONS = 50
GAIN = 0.5  # of the log step size, per unit of acceptance probability and move


class SMCState(eqx.Module):
    """Particles at `temperature` (0 the reference, 1 the target) and the log evidence ratio gathered up to there."""

    particles: Particles
    reference: Gaussian
    temperature: Scalar
    log_evidence: Scalar
    log_step: Scalar


class TemperedSMC(Algorithm):
    """Particles from a Gaussian reference q0 to p along log p_t = (1 - t) log q0 + t log p + const.

    A step of the loop chooses the next t by bisection so that the incremental weights (p / q0)^(t' - t) have an
    effective size of `effective_share` of the `num_particles`, resamples by them (systematic), and moves every particle
    by `num_moves` Hamiltonian trajectories of `leapfrog_steps` steps each, scaled by the particles' covariance, with a
    step size that follows `target_acceptance`. It has converged when t = 1 and the particles have moved there.

    The reference is the Gaussian of `start` with its scale multiplied by `inflation`, or N(0, reference_scale^2 I)
    where the start is a point. **Modes that the reference does not reach are not found.**

    `log_evidence` (in the state and in the history) estimates log Z: the estimate of Z is unbiased for a fixed ladder
    of temperatures, that of log Z is below it on average; neither is a bound.

    For posteriors of several modes, or to estimate the evidence; costs num_particles * num_moves * leapfrog_steps
    gradients a step, and about sqrt(d) to d steps. Not for d above a hundred or so. Needs the exact log density.

    Source: Del Moral, Doucet, Jasra (2006); adaptive temperatures: Jasra, Stephens, Doucet, Tsagaris (2011);
    Hamiltonian moves: Buchholz, Chopin, Jacob (2021).
    """

    needs: ClassVar[Any] = LogDensity
    gives: ClassVar[type] = DrawsPosterior
    num_particles: int = eqx.field(static=True, default=1000)
    num_moves: int = eqx.field(static=True, default=5)
    leapfrog_steps: int = eqx.field(static=True, default=8)
    effective_share: Scalar = scalar_field(0.7)
    target_acceptance: Scalar = scalar_field(0.8)
    reference_scale: Scalar = scalar_field(5.0)
    inflation: Scalar = scalar_field(2.0)
    step_size: Scalar = scalar_field(0.5)

    @property
    def lanes(self) -> int:
        return self.num_particles

    @property
    def default_steps(self) -> int:
        return 200

    def cautious(self) -> Self:
        """The same with half the first step size."""
        return eqx.tree_at(lambda a: a.step_size, self, 0.5 * self.step_size)

    def init(self, key: PRNGKey, target: Any, start: Posterior) -> SMCState:
        d = target.space.dimension
        if isinstance(start, PointPosterior):
            reference = Gaussian(jnp.zeros(d), self.reference_scale * jnp.eye(d))
        else:
            fitted = start_gaussian(start)
            reference = Gaussian(fitted.mean, self.inflation * fitted.scale_tril)
        zero = as_scalar(0.0)
        particles = evaluate(target, reference, jax.random.normal(key, (self.num_particles, d), zero.dtype))
        return SMCState(particles, reference, zero, zero, jnp.log(self.step_size))

    def step(self, key: PRNGKey, state: SMCState, target: Any, clock: Clock) -> tuple[SMCState, Step]:
        key_resample, key_move = jax.random.split(key)
        ratio = state.particles.log_density - jax.vmap(log_standard_normal)(state.particles.u)
        ratio = jnp.where(jnp.isnan(ratio), -jnp.inf, ratio)
        temperature = next_temperature(ratio, state.temperature, self.effective_share)
        log_weights = _powers(ratio, temperature - state.temperature)
        increment = logsumexp(log_weights) - jnp.log(as_scalar(float(self.num_particles)))
        alive = jnp.isfinite(increment)
        chosen = systematic(key_resample, jnp.where(alive, log_weights, 0.0))
        particles = jax.tree.map(lambda a: a[chosen], state.particles)
        particles, log_step, acceptance = self._move(key_move, particles, state, target, temperature)
        stop = jnp.where(temperature >= 1.0, StopCode.CONVERGED, StopCode.CONTINUE)
        stop = jnp.where(alive, stop, StopCode.FAILED)
        log_evidence = state.log_evidence + jnp.where(alive, increment, 0.0)
        new = SMCState(particles, state.reference, temperature, log_evidence, log_step)
        return new, make_step(
            residual=1.0 - temperature,
            stop=stop,
            temperature=temperature,
            log_evidence=log_evidence,
            effective_size=effective_size(log_weights),
            acceptance=acceptance,
            step_size=jnp.exp(log_step),
        )

    def _move(
        self, key: PRNGKey, particles: Particles, state: SMCState, target: Any, temperature: Scalar
    ) -> tuple[Particles, Scalar, Scalar]:
        """Hamiltonian moves that leave p_t invariant, and the step size that they led to."""
        scale = covariance_factor(particles.u)

        def move(carry: tuple[Particles, Scalar], key: PRNGKey) -> tuple[tuple[Particles, Scalar], Scalar]:
            before, log_step = carry
            move = Move(state.reference, temperature, scale, self.leapfrog_steps)
            kept, probability = move(key, before, target, log_step)
            acceptance = jnp.mean(probability)
            return (kept, log_step + GAIN * (acceptance - self.target_acceptance)), acceptance

        keys = jax.random.split(key, self.num_moves)
        (particles, log_step), acceptance = jax.lax.scan(move, (particles, state.log_step), keys)
        return particles, log_step, jnp.mean(acceptance)

    def posterior(self, state: SMCState, draws: Any, space: Space) -> DrawsPosterior:
        return DrawsPosterior(space, _draws(state)[None], None, independent=True)


@Compiled
def _draws(state: SMCState) -> Float[Array, "n d"]:
    return jax.vmap(state.reference.from_noise)(state.particles.u)


def _powers(ratio: Float[Array, " n"], exponent: Scalar) -> Float[Array, " n"]:
    """`exponent` * `ratio`, where 0 * -inf is -inf: a point without target density has no weight at any temperature."""
    return jnp.where(jnp.isfinite(ratio), exponent * ratio, -jnp.inf)


def effective_size(log_weights: Float[Array, " n"]) -> Scalar:
    """(sum w)^2 / sum w^2, zero where all weights vanish."""
    size = jnp.exp(2 * logsumexp(log_weights) - logsumexp(2 * log_weights))
    return jnp.where(jnp.isnan(size), 0.0, size)


def next_temperature(ratio: Float[Array, " n"], temperature: Scalar, share: Scalar) -> Scalar:
    """The largest t' <= 1 at which the weights keep an effective size of `share` of the particles, by bisection.

    Log weights are (t' - temperature) * `ratio`; only particles that have target density at all are counted.
    """
    wanted = share * jnp.sum(jnp.isfinite(ratio))

    def enough(t: Scalar) -> Array:
        return effective_size(_powers(ratio, t - temperature)) >= wanted

    def halve(_: Any, ends: tuple[Scalar, Scalar]) -> tuple[Scalar, Scalar]:
        low, high = ends
        middle = 0.5 * (low + high)
        good = enough(middle)
        return jnp.where(good, middle, low), jnp.where(good, high, middle)

    one = jnp.ones_like(temperature)
    _, high = jax.lax.fori_loop(0, BISECTIONS, halve, (temperature, one))
    return jnp.where(enough(one), one, high)  # the upper end, so that t grows even where rounding closes the interval


def systematic(key: PRNGKey, log_weights: Float[Array, " n"]) -> Array:
    """Indices of n particles, each chosen floor or ceil of n w_i times."""
    n = log_weights.shape[0]
    points = (jnp.arange(n) + jax.random.uniform(key, (), log_weights.dtype)) / n
    cumulative = jnp.cumsum(jnp.exp(log_weights - jnp.max(log_weights)))
    return jnp.minimum(jnp.searchsorted(cumulative / cumulative[-1], points), n - 1)


def covariance_factor(u: Float[Array, "n d"]) -> Float[Array, "d d"]:
    """Cholesky factor of the covariance of points, shrunk to its diagonal by d / (n + d) so that few points will do."""
    n, d = u.shape
    centred = u - jnp.mean(u, 0)
    cov = centred.T @ centred / n
    diagonal = jnp.diag(jnp.diagonal(cov)) + jnp.finfo(u.dtype).tiny * jnp.eye(d, dtype=u.dtype)
    return jnp.linalg.cholesky(cov + d / (n + d) * (diagonal - cov))
