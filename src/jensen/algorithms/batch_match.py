"""Batch and match: a Gaussian whose score matches the target's on a batch of draws."""

from typing import Any, ClassVar, Self

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
from jaxtyping import Array, Float

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
    spread,
)
from jensen.families import Gaussian

COOLDOWN = 0.6
MAX_EXTRA = 100.0  # of lambda far from the mean: S may grow by a factor of lambda a step where p is flat


class BatchMatchState(eqx.Module):
    """The Gaussian so far."""

    q: Gaussian


class BatchMatch(Algorithm):
    """q <- argmin_q D_t(q; p) + (2 / lambda_t) KL(q_t || q) over Gaussians, in closed form at every step.

    D_t is the score-based divergence mean_b |grad log q(z_b) - grad log p(z_b)|^2_S on a batch of B draws z_b ~ q_t.
    With V and U the moments of draws and scores (see `match`), the new covariance solves S U S + S = V and the new mean
    is (m + lambda (S g + z)) / (1 + lambda) with g and z the batch means. A Gaussian target is matched exactly, to
    rounding, in a few steps; for others the fixed point is the Gaussian of equal expected score and curvature, which is
    not the minimum of the ELBO, but near it where p is near Gaussian.

    `rate`: lambda_t = rate B d / (t + 1) as in the paper, and in the last 60 % of a run at most 2 / (s + 1) after s of
    its steps, which averages batches so that noise falls as 1/s. Before that, if B >= 2 d and the mean is surely more
    than one standard deviation off, twice its squared distance (see `drift`; at most 100) is added: the term of g g^T
    in U would else squeeze S along g, and steps would be the shorter the farther off q is. `batch_size`: B; below d/2
    the solve is of size 2 B, and of order d / B times more steps are needed. `tolerance`: the divergence per dimension
    at which the run stops as converged (only Gaussian targets come to it). The objective in the history is the batch's
    -ELBO in nats, the residual is D_t(q_t; p) / d.

    B gradients and O(B d^2 + d^3) a step; no Hessians. Draws at which p is not finite are left out; if they are half of
    the batch or more, S shrinks to S / 4 instead. Start it from a Laplace approximation where there is one: about a
    point it begins with standard deviation 0.1. Not for targets that are far from Gaussian in their unconstrained
    coordinates (several modes, funnels), nor for d above a thousand.

    Raises `InputError` for fewer than two draws a batch, and for a rate that is not positive.

    Source: Cai, Modi, Margossian, Gower, Blei, Saul (2024), Batch and match: black-box variational inference with a
    score-based divergence; the update is done here in the coordinates in which q_t is standard normal.
    """

    needs: ClassVar[Any] = LogDensity
    gives: ClassVar[type] = DensityPosterior
    brief: ClassVar[bool] = True
    exact: ClassVar[bool] = False
    batch_size: int = eqx.field(static=True, default=64)
    rate: Scalar = scalar_field(1.0)
    tolerance: Scalar = scalar_field(1e-12)

    def __check_init__(self):
        require(self.batch_size >= 2, f"BatchMatch.batch_size must be 2 or more, got {self.batch_size}", InputError)
        if not isinstance(self.rate, jax.core.Tracer):
            require(float(self.rate) > 0, f"BatchMatch.rate must be positive, got {float(self.rate)}", InputError)

    @property
    def default_steps(self) -> int:
        return 200

    @property
    def cooldown(self) -> float:
        return COOLDOWN

    def init(self, key: PRNGKey, target: Any, start: Posterior) -> BatchMatchState:
        return BatchMatchState(start_gaussian(start))

    def step(self, key: PRNGKey, state: BatchMatchState, target: Any, clock: Clock) -> tuple[BatchMatchState, Step]:
        q = state.q
        size = self.batch_size * q.dimension
        noise = spread(jax.random.normal(key, (size,), q.mean.dtype).reshape(-1, q.dimension))  # flat compiles faster
        value, slope = jax.vmap(jax.value_and_grad(target.log_density))(q.mean + noise @ q.scale_tril.T)
        score = slope @ q.scale_tril
        usable = jnp.isfinite(value) & jnp.all(jnp.isfinite(score), axis=1)
        weights = usable / jnp.maximum(jnp.sum(usable), 1).astype(noise.dtype)
        value, noise, score = jnp.where(usable, value, 0), *(jnp.where(usable[:, None], a, 0) for a in (noise, score))

        mismatch = score + noise  # grad log p - grad log q, in the coordinates in which q = N(0, I)
        rate = self._lambda(clock, q.dimension, drift(mismatch, weights))
        shift, cov = match(noise, score, weights, rate)
        tril = q.scale_tril @ jnp.linalg.cholesky(cov)
        trusted = (2 * jnp.sum(usable) > self.batch_size) & jnp.all(jnp.isfinite(tril)) & jnp.all(jnp.isfinite(shift))
        mean = jnp.where(trusted, q.mean + q.scale_tril @ shift, q.mean)
        new = Gaussian(mean, jnp.where(trusted, tril, 0.5 * q.scale_tril))

        divergence = weights @ jnp.sum(mismatch**2, axis=1) / q.dimension
        stop = jnp.where(
            trusted & jnp.all(usable) & (divergence < self.tolerance), StopCode.CONVERGED, StopCode.CONTINUE
        )
        return BatchMatchState(new), make_step(-q.entropy() - weights @ value, divergence, stop)

    def _lambda(self, clock: Clock, dimension: int, distance: Scalar) -> Scalar:
        t, total = (n.astype(self.rate.dtype) for n in (clock.t, clock.total))
        settled = jnp.maximum(t - (1 - COOLDOWN) * total, 0.0)
        rate = self.rate * self.batch_size * dimension / (t + 1)
        if self.batch_size >= 2 * dimension:  # a smaller batch cannot tell S, and a large lambda would believe it
            rate = rate + jnp.clip(2 * (distance - 1), 0.0, MAX_EXTRA)
        return jnp.where(settled > 0, jnp.minimum(rate, 2 * jnp.minimum(self.rate, 1.0) / (settled + 1)), rate)

    def posterior(self, state: BatchMatchState, draws: Any, space: Space) -> DensityPosterior:
        return DensityPosterior(space, state.q)

    def cautious(self) -> Self:
        return eqx.tree_at(lambda a: a.rate, self, 0.5 * self.rate)


def drift(mismatch: Float[Array, "batch d"], weights: Float[Array, " batch"]) -> Scalar:
    """|E_q[grad log p - grad log q]|^2 from rows of it, less the noise of their mean: one outlier adds about nothing.

    In the coordinates in which q = N(0, I) this is the squared distance, in standard deviations, from q's mean to that
    of a Gaussian p of the same covariance.
    """
    mean = weights @ mismatch
    noise = jnp.sum(weights**2 @ (mismatch - mean) ** 2) / jnp.maximum(
        1 - jnp.sum(weights**2), jnp.finfo(mean.dtype).eps
    )
    return jnp.sum(mean**2) - noise


def match(
    noise: Float[Array, "batch d"], score: Float[Array, "batch d"], weights: Float[Array, " batch"], rate: Scalar
) -> tuple[Float[Array, " d"], Float[Array, "d d"]]:
    """Mean and covariance of the matched Gaussian in the coordinates in which q_t = N(0, I).

    With e and h the means of the draws `noise` and the scores `score` under `weights` (which sum to one), C and G their
    covariances, and lambda = `rate`: U = lambda G + lambda/(1 + lambda) h h^T, V = I + lambda C + lambda/(1 + lambda) e
    e^T, S U S + S = V, m = lambda/(1 + lambda) (S h + e).

    With V = R R^T and R^T U R = P diag(u) P^T the solution is S = R P diag(2 / (1 + sqrt(1 + 4 u))) P^T R^T: one
    symmetric eigendecomposition and no root of a general matrix. All that differs from I lies in the span of draws and
    scores, so that for 2 batch < d the equation is solved there.
    """
    batch, d = noise.shape
    if 2 * batch < d:
        basis, _ = jnp.linalg.qr(jnp.concatenate([noise, score]).T)  # (d, 2 batch)
        shift, cov = match(noise @ basis, score @ basis, weights, rate)
        return basis @ shift, jnp.eye(d, dtype=noise.dtype) + basis @ (
            cov - jnp.eye(2 * batch, dtype=noise.dtype)
        ) @ basis.T
    share = rate / (1 + rate)
    mean_noise, mean_score = weights @ noise, weights @ score

    def moment(rows: Float[Array, "batch k"], mean: Float[Array, " k"]) -> Float[Array, "k k"]:
        centred = rows - mean
        return rate * (centred * weights[:, None]).T @ centred + share * jnp.outer(mean, mean)

    root = jnp.linalg.cholesky(jnp.eye(d, dtype=noise.dtype) + moment(noise, mean_noise))
    u, vectors = jnp.linalg.eigh(root.T @ moment(score, mean_score) @ root)
    half = root @ vectors
    cov = (half * (2 / (1 + jnp.sqrt(1 + 4 * jnp.maximum(u, 0))))) @ half.T
    return share * (cov @ mean_score + mean_noise), cov
