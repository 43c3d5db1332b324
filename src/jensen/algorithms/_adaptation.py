"""Warm-up of Hamiltonian samplers: when to adapt what, the step size, and the metric. All chains share one of each."""

import abc

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jensen.core import Clock, Scalar, as_scalar

MAX_WINDOWS = 20
SHRINKAGE = 5.0  # draws that the regularisation of the metric is worth (Stan)


class Phase(eqx.Module):
    """Where in the warm-up a step is.

    `adapting`: the step size moves; `learning`: draws count for the metric; `window_ends`: the metric is replaced by
    that of the window's draws, after this step. `num_warmup`: length of the warm-up.
    """

    adapting: Bool[Array, ""]
    learning: Bool[Array, ""]
    window_ends: Bool[Array, ""]
    num_warmup: Int[Array, ""]


def phase(clock: Clock, warmup: Scalar) -> Phase:
    """Stan's schedule, in proportion, over the first `warmup` share of the run.

    7.5 % of it step size only; then windows, the first of 2.5 %, each twice as long as the one before, the last ones
    merged; then 5 % step size only. For 1000 steps: 75; 25, 50, 100, 200, 500; 50.
    """
    num_warmup = jnp.round(warmup * clock.total.astype(warmup.dtype)).astype(jnp.int32)

    def share(fraction: float) -> Int[Array, ""]:
        return jnp.ceil(fraction * num_warmup.astype(warmup.dtype)).astype(jnp.int32)

    begin, end, base = share(0.075), num_warmup - share(0.05), jnp.maximum(share(0.025), 2)
    ends = begin + base * (2 ** jnp.arange(1, MAX_WINDOWS, dtype=jnp.int32) - 1)
    done = clock.t + 1
    ordinary = jnp.any((done == ends[:-1]) & (ends[1:] <= end))  # a window is closed only if the next one fits as well
    return Phase(
        clock.t < num_warmup,
        (clock.t >= begin) & (clock.t < end),
        (clock.t < num_warmup) & (ordinary | (done == end)),
        num_warmup,
    )


class StepSize(eqx.Module):
    """Dual averaging of the log step size. `log_step`: in use while adapting; `log_average`: what is kept afterwards.

    H_t = (1 - 1/(t + t0)) H_{t-1} + (target - acceptance) / (t + t0);  log e_t = mu - sqrt(t) / gamma H_t, with
    mu = log 10 e_0, t0 = 10, gamma = 0.05, and the average of log e_t with weights t^-0.75.
    Source: Nesterov (2009); Hoffman and Gelman (2014), section 3.2.
    """

    log_step: Scalar
    log_average: Scalar
    centre: Scalar
    error: Scalar
    count: Scalar

    @classmethod
    def begin(cls, log_step: Scalar) -> "StepSize":
        """Start at `log_step`, drawn towards ten times as much."""
        zero = jnp.zeros_like(log_step)
        return cls(log_step, log_step, log_step + jnp.log(as_scalar(10.0)), zero, zero)

    def update(self, acceptance: Scalar, target: Scalar) -> "StepSize":
        """After a step whose mean acceptance probability was `acceptance`."""
        count = self.count + 1
        weight = 1 / (count + 10)
        error = (1 - weight) * self.error + weight * (target - acceptance)
        log_step = self.centre - jnp.sqrt(count) / 0.05 * error
        fade = count**-0.75
        return StepSize(log_step, fade * log_step + (1 - fade) * self.log_average, self.centre, error, count)


class Moments(eqx.Module):
    """Running count, mean and sum of squared deviations (a matrix, or its diagonal) of the draws of all chains."""

    count: Scalar
    mean: Float[Array, " d"]
    square: Float[Array, "..."]


class Metric(eqx.Module):
    """What shape the inverse mass matrix has. It is kept by its factor C, a vector (diagonal) or lower triangular."""

    @abc.abstractmethod
    def initial(self, cov: Float[Array, "d d"]) -> Float[Array, "..."]:
        """C for a given covariance."""

    @abc.abstractmethod
    def _factor(self, cov: Float[Array, "..."]) -> Float[Array, "..."]:
        """C of a covariance in this shape."""

    @abc.abstractmethod
    def _product(self, a: Float[Array, "chains d"], b: Float[Array, "chains d"]) -> Float[Array, "..."]:
        """Sum over chains of a b^T, in this shape."""

    @abc.abstractmethod
    def _unit(self, d: int) -> Float[Array, "..."]:
        """The identity, in this shape."""

    def empty(self, d: int) -> Moments:
        """No draws yet."""
        unit = self._unit(d)
        return Moments(jnp.zeros((), unit.dtype), jnp.zeros(d, unit.dtype), jnp.zeros_like(unit))

    def add(self, moments: Moments, z: Float[Array, "chains d"]) -> Moments:
        """With one draw of each chain more (Chan, Golub, LeVeque 1983)."""
        n = z.shape[0]
        count = moments.count + n
        delta = jnp.mean(z, 0) - moments.mean
        centred = z - jnp.mean(z, 0)
        between = self._product(delta[None], delta[None]) * moments.count * n / count
        return Moments(
            count, moments.mean + delta * n / count, moments.square + self._product(centred, centred) + between
        )

    def estimate(self, moments: Moments) -> Float[Array, "..."]:
        """C of the regularised covariance of the draws: shrunk to 1e-3 I as by five draws of it."""
        cov = moments.square / jnp.maximum(moments.count - 1, 1)
        share = moments.count / (moments.count + SHRINKAGE)
        return self._factor(share * cov + (1 - share) * 1e-3 * self._unit(moments.mean.shape[0]))


class Diagonal(Metric):
    """A variance a coordinate."""

    def initial(self, cov: Float[Array, "d d"]) -> Float[Array, " d"]:
        return jnp.sqrt(jnp.diagonal(cov))

    def _factor(self, cov: Float[Array, " d"]) -> Float[Array, " d"]:
        return jnp.sqrt(cov)

    def _product(self, a: Float[Array, "chains d"], b: Float[Array, "chains d"]) -> Float[Array, " d"]:
        return jnp.sum(a * b, 0)

    def _unit(self, d: int) -> Float[Array, " d"]:
        return jnp.ones(d)


class Dense(Metric):
    """A full covariance: d^2 a leapfrog step and d^3 a transition, for posteriors with strong correlations."""

    def initial(self, cov: Float[Array, "d d"]) -> Float[Array, "d d"]:
        return jnp.linalg.cholesky(cov)

    def _factor(self, cov: Float[Array, "d d"]) -> Float[Array, "d d"]:
        return jnp.linalg.cholesky(cov)

    def _product(self, a: Float[Array, "chains d"], b: Float[Array, "chains d"]) -> Float[Array, "d d"]:
        return a.T @ b

    def _unit(self, d: int) -> Float[Array, "d d"]:
        return jnp.eye(d)
