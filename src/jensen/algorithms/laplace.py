"""The Laplace approximation, by damped Newton from several starts."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen._numerics.newton import ALL, Climb, ended, newton_step, start_climb
from jensen.core import (
    Algorithm,
    Clock,
    Compiled,
    DensityPosterior,
    LogDensity,
    PointPosterior,
    Posterior,
    PRNGKey,
    Scalar,
    Space,
    Step,
    StopCode,
    at_once,
    finite_starts,
    make_step,
    scalar_field,
)
from jensen.families import Gaussian


class LaplaceState(eqx.Module):
    """A climb from every start (leading axis starts) and its Newton decrement one step before."""

    climbs: Climb
    decrement: Float[Array, " starts"]


class Laplace(Algorithm):
    """q = N(z*, (-H)^-1), with z* the mode of log p and H its Hessian there.

    Damped Newton, z <- z + (|H| + lambda I)^-1 grad log p, from `num_starts` points at once (the starting points of the
    loop, or draws of `start`), with |H| the Hessian with
    absolute eigenvalues: ascent in every direction, quadratic convergence near a mode. Of the modes found, that of the
    largest Laplace mass log p(z*) + d/2 log 2 pi - 1/2 log det(-H) is taken. Eigenvalues of -H that are not positive (a
    ridge, a saddle) are lifted to a small share of the largest, so that a density always comes out; whether it is any
    good is for the certificate to say.

    Needs second derivatives: d gradients and one eigendecomposition (d^3) a step and start. Not for d above a few
    hundred (use `Mode` and `BatchMatch`), nor where the mode is far from the mass (funnels, hierarchical scales).

    Source: Laplace (1774); Tierney and Kadane (1986); absolute eigenvalues: Dauphin et al. (2014).
    """

    needs: ClassVar[Any] = LogDensity
    gives: ClassVar[type] = DensityPosterior
    brief: ClassVar[bool] = True
    num_starts: int = eqx.field(static=True, default=4)
    tolerance: Scalar = scalar_field(1e-3)  # Newton decrement, in posterior standard deviations

    @property
    def default_steps(self) -> int:
        return 100

    def init(self, key: PRNGKey, target: Any, start: Posterior) -> LaplaceState:
        if isinstance(start, PointPosterior) and start.others is not None and len(start.others) >= self.num_starts - 1:
            points = jnp.concatenate([start.z[None], start.others[: self.num_starts - 1]])
        elif isinstance(start, PointPosterior):
            others, _, found = finite_starts(key, target, max(self.num_starts - 1, 1), tries=2)
            points = jnp.concatenate([start.z[None], jnp.where(found, others, start.z)])[: self.num_starts]
        else:
            points = start.sample_z(key, self.num_starts)
        return LaplaceState(jax.vmap(start_climb)(points), jnp.full(self.num_starts, 1e30, points.dtype))

    def step(self, key: PRNGKey, state: LaplaceState, target: Any, clock: Clock) -> tuple[LaplaceState, Step]:
        each = -(-at_once(target, ALL) // self.num_starts)
        climbs, decrement = jax.vmap(lambda c: newton_step(target.log_density, c, each))(state.climbs)
        # in single precision rounding alone leaves a decrement of about a hundredth
        floor = 30 * jnp.sqrt(jnp.finfo(decrement.dtype).eps)
        tolerance = jnp.maximum(self.tolerance, floor).astype(decrement.dtype)
        done = jax.vmap(lambda climb, size: ended(climb, size, tolerance))(climbs, decrement)
        # infinite only before the first accepted step; finite, so that the loop's guard does not take it for a failure
        decrement = jnp.minimum(decrement, 1e30)
        best = jnp.argmax(climbs.value)
        code = jnp.where(decrement[best] < tolerance, StopCode.CONVERGED, StopCode.STUCK)
        stop = jnp.where(jnp.all(done), code, StopCode.CONTINUE)
        return LaplaceState(climbs, decrement), make_step(-climbs.value[best], decrement[best], stop)

    def posterior(self, state: LaplaceState, draws: Any, space: Space) -> DensityPosterior:
        return DensityPosterior(space, best_gaussian(state.climbs))


@Compiled
def best_gaussian(climbs: Climb) -> Gaussian:
    """N(z*, (-H)^-1) at the climb of the largest Laplace mass log p(z*) - 1/2 log det(-H)."""
    eigenvalues, vectors = jnp.linalg.eigh(-climbs.hessian)
    largest = jnp.max(jnp.abs(eigenvalues), axis=-1, keepdims=True)
    tiny = jnp.finfo(eigenvalues.dtype).eps * largest
    # a saddle or ridge has no spread of its own: lend it a wide but finite one
    precision = jnp.where(eigenvalues > tiny, eigenvalues, jnp.maximum(jnp.abs(eigenvalues), 1e-6 * largest))
    mass = climbs.value - 0.5 * jnp.sum(jnp.log(precision), axis=-1)
    best = jnp.argmax(jnp.where(jnp.isfinite(mass), mass, -jnp.inf))
    root = vectors[best] / jnp.sqrt(precision[best])  # root root^T = (-H)^-1
    triangle = jnp.linalg.qr(root.T, mode="r").T
    return Gaussian(climbs.z[best], triangle * jnp.sign(jnp.diagonal(triangle)))
