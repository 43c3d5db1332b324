"""Deterministic Gaussian variational inference: one fixed set of draws, a second-order optimiser."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from jensen._numerics.lbfgs import Descent, advance, decrement, start_descent, trial
from jensen.algorithms._gaussian import start_gaussian
from jensen.core import (
    Algorithm,
    Clock,
    DensityPosterior,
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
from jensen.families import Builder, DiagonalGaussian, FullRank, Gaussian, MeanField

Family = Gaussian | DiagonalGaussian


class FixedSampleState(eqx.Module):
    """The fixed noise, the frame (the first q) in whose coordinates is optimised, and the descent of q's parameters."""

    noise: Float[Array, "draws d"]
    frame: Gaussian
    descent: Descent


class FixedSampleVI(Algorithm):
    """q = argmin -mean_b log p(m + L e_b) - H(q) over N(m, L L^T), with noise e_1 .. e_B drawn once and kept.

    H is the entropy. With the draws fixed, the objective is a deterministic function: it has an optimum, an optimiser
    of second order (here L-BFGS) finds it in tens of evaluations, and convergence is a fact rather than a guess. The
    price is the error of the fixed draws, of order 1 / sqrt(num_draws), which more steps do not lower. The draws are
    given mean 0 and covariance I exactly where there are more than d of them, so that a Gaussian target is recovered to
    rounding.

    `family`: `MeanField()` or `FullRank()`. With full rank `num_draws` must exceed d, for else the objective has no
    minimum (directions that no draw sees can shrink for ever): take several times d. The parameters are optimised in
    units of the first q. `tolerance`: the decrement sqrt(g^T H g), in nats^(1/2), at which the run has converged. The
    objective in the history is that of the fixed draws; its excess over -ELBO is a bias that only fresh draws show.

    num_draws gradients a step. For more than about a thousand parameters of q take `GradientVI`.

    Raises `InputError` for another family, fewer than two draws, or too few for full rank.

    Source: Giordano, Ingram and Broderick (2024), Black box variational inference with a deterministic objective.
    """

    needs: ClassVar[Any] = LogDensity
    gives: ClassVar[type] = DensityPosterior
    family: Builder = MeanField()
    num_draws: int = eqx.field(static=True, default=128)
    memory: int = eqx.field(static=True, default=20)
    tolerance: Scalar = scalar_field(1e-6)

    def __check_init__(self):
        require(
            isinstance(self.family, MeanField | FullRank),
            f"FixedSampleVI.family must be MeanField() or FullRank(), got {type(self.family).__name__}",
            InputError,
        )
        require(self.num_draws >= 2, f"FixedSampleVI.num_draws must be 2 or more, got {self.num_draws}", InputError)

    @property
    def default_steps(self) -> int:
        return 1000

    def init(self, key: PRNGKey, target: Any, start: Posterior) -> FixedSampleState:
        d = target.space.dimension
        require(
            isinstance(self.family, MeanField) or self.num_draws > d,
            f"FixedSampleVI with FullRank() needs more draws than dimensions: num_draws is {self.num_draws}, d is {d}",
            InputError,
        )
        frame = start_gaussian(start)
        first = self.family.build(key, frame)
        if isinstance(first, DiagonalGaussian):
            frame = Gaussian(first.mean, jnp.diag(jnp.exp(first.log_scale)))
        noise = standardised(jax.random.normal(key, (self.num_draws, d), frame.mean.dtype))
        parameters, _ = self._parameters(d)
        return FixedSampleState(noise, frame, start_descent(parameters, self.memory))

    def _parameters(self, dimension: int) -> tuple[Float[Array, " n"], Any]:
        zero = jnp.zeros(dimension, jnp.result_type(float))
        unit = (
            DiagonalGaussian(zero, zero) if isinstance(self.family, MeanField) else Gaussian(zero, jnp.diag(zero + 1))
        )
        return ravel_pytree(unit)

    def step(self, key: PRNGKey, state: FixedSampleState, target: Any, clock: Clock) -> tuple[FixedSampleState, Step]:
        _, unravel = self._parameters(state.frame.dimension)

        def objective(parameters: Float[Array, " n"]) -> Scalar:
            q = placed(state.frame, unravel(parameters))
            return -jnp.mean(jax.vmap(lambda e: target.log_density(q.from_noise(e)))(state.noise)) - q.entropy()

        value, gradient = jax.value_and_grad(objective)(trial(state.descent))
        descent, accepted, lost = advance(state.descent, value, gradient)
        distance = decrement(descent)
        done = accepted & jnp.any(descent.weights > 0) & (distance < self.tolerance)
        ended = jnp.where(done, StopCode.CONVERGED, jnp.where(lost, StopCode.STUCK, StopCode.CONTINUE))
        return FixedSampleState(state.noise, state.frame, descent), make_step(descent.value, distance, ended)

    def posterior(self, state: FixedSampleState, draws: Any, space: Space) -> DensityPosterior:
        return DensityPosterior(space, _read(self, state))


@eqx.filter_jit
def _read(algorithm: FixedSampleVI, state: FixedSampleState) -> Family:
    _, unravel = algorithm._parameters(state.frame.dimension)
    q = placed(state.frame, unravel(state.descent.z))
    if isinstance(q, DiagonalGaussian):
        return q
    tril = jnp.tril(q.scale_tril)
    return Gaussian(q.mean, tril * jnp.where(jnp.diagonal(tril) < 0, -1.0, 1.0))  # a column's sign changes nothing


def placed(frame: Gaussian, q: Family) -> Family:
    """The distribution of m + L u for u ~ q, with m and L of `frame` (whose L must be diagonal for a diagonal q)."""
    mean = frame.mean + frame.scale_tril @ q.mean
    if isinstance(q, DiagonalGaussian):
        return DiagonalGaussian(mean, q.log_scale + jnp.log(jnp.diagonal(frame.scale_tril)))
    return Gaussian(mean, frame.scale_tril @ jnp.tril(q.scale_tril))


def standardised(noise: Float[Array, "draws d"]) -> Float[Array, "draws d"]:
    """`noise` with sample mean 0, and with sample covariance I where there are more draws than dimensions."""
    centred = noise - jnp.mean(noise, 0)
    draws, d = noise.shape
    if draws <= d:
        return centred / jnp.sqrt(jnp.mean(centred**2, 0))
    root = jnp.linalg.cholesky(centred.T @ centred / draws)
    return jax.scipy.linalg.solve_triangular(root, centred.T, lower=True).T
