"""Batch and match: a Gaussian whose score matches the target's on a batch of draws."""

from typing import Any, ClassVar, Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.algorithms._gaussian import antithetic_noise, start_gaussian
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
    scalar_field,
)
from jensen.families import Gaussian


class BatchMatchState(eqx.Module):
    """The Gaussian so far."""

    q: Gaussian


class BatchMatch(Algorithm):
    rate: Scalar = scalar_field(1.0)
    tolerance: Scalar = scalar_field(1e-12)
    batch_size: int = eqx.field(static=True, default=64)

    needs: ClassVar[Any] = LogDensity
    gives: ClassVar[type] = DensityPosterior
    exact: ClassVar[bool] = False
    schedule: str = eqx.field(static=True, default="paper")
    anti: bool = eqx.field(static=True, default=True)

    @property
    def default_steps(self) -> int:
        return 200

    def init(self, key: PRNGKey, target: Any, start: Posterior) -> BatchMatchState:
        return BatchMatchState(start_gaussian(start))

    def step(self, key: PRNGKey, state: BatchMatchState, target: Any, clock: Clock) -> tuple[BatchMatchState, Step]:
        q = state.q
        B, d = self.batch_size, q.dimension
        t = clock.t.astype(q.mean.dtype)
        T = clock.total.astype(q.mean.dtype)
        lam = self.rate * B * d / (t + 1)
        if self.schedule.startswith("cool"):
            c = float(self.schedule[4:])
            t0 = (1 - c) * T
            lam = jnp.where(t < t0, lam, jnp.minimum(lam, 2 / (t - t0 + 1)))
        if self.schedule.startswith("both"):
            c = float(self.schedule[4:])
            lam = jnp.minimum(lam, c * B / d)
        noise = antithetic_noise(key, B, d, q.mean.dtype) if self.anti else jax.random.normal(key, (B, d), q.mean.dtype)
        z = q.mean + noise @ q.scale_tril.T
        value, slope = jax.vmap(jax.value_and_grad(target.log_density))(z)
        score = slope @ q.scale_tril
        usable = jnp.isfinite(value) & jnp.all(jnp.isfinite(score), axis=1)
        count = jnp.sum(usable)
        noise, score, value = (jnp.where(usable.reshape(-1, *[1] * (a.ndim - 1)), a, 0) for a in (noise, score, value))
        shift, cov = match(noise, score, usable / jnp.maximum(count, 1), lam)
        tril = q.scale_tril @ jnp.linalg.cholesky(cov)
        trusted = (2 * count > B) & jnp.all(jnp.isfinite(tril))
        mean = jnp.where(trusted, q.mean + q.scale_tril @ shift, q.mean)
        tril = jnp.where(trusted, tril, 0.5 * q.scale_tril)
        divergence = jnp.sum((score + noise) ** 2) / (jnp.maximum(count, 1) * d)
        objective = -q.entropy() - jnp.sum(value) / jnp.maximum(count, 1)
        done = trusted & (divergence < self.tolerance)
        return BatchMatchState(Gaussian(mean, tril)), make_step(
            objective, divergence, jnp.where(done, StopCode.CONVERGED, StopCode.CONTINUE), lam=lam
        )

    def posterior(self, state: BatchMatchState, draws: Any, space: Space) -> DensityPosterior:
        return DensityPosterior(space, state.q)

    def cautious(self) -> Self:
        return eqx.tree_at(lambda a: a.rate, self, 0.5 * self.rate)


def match(noise, score, weights, lam):
    batch, d = noise.shape
    basis = None
    if 2 * batch < d:
        basis, _ = jnp.linalg.qr(jnp.concatenate([noise, score]).T)
        noise, score = noise @ basis, score @ basis
    identity = jnp.eye(noise.shape[1], dtype=noise.dtype)
    mean_noise, mean_score = weights @ noise, weights @ score
    share = lam / (1 + lam)

    def moment(rows, mean):
        centred = rows - mean
        return lam * (centred * weights[:, None]).T @ centred + share * jnp.outer(mean, mean)

    root = jnp.linalg.cholesky(identity + moment(noise, mean_noise))
    inner = root.T @ moment(score, mean_score) @ root
    eigenvalues, vectors = jnp.linalg.eigh(inner)
    half = root @ vectors
    cov = (half * (2 / (1 + jnp.sqrt(1 + 4 * jnp.maximum(eigenvalues, 0))))) @ half.T
    shift = share * (cov @ mean_score + mean_noise)
    if basis is None:
        return shift, cov
    return basis @ shift, jnp.eye(basis.shape[0], dtype=noise.dtype) + basis @ (cov - identity) @ basis.T
