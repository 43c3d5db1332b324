"""Cox processes whose intensity is the square of a Gaussian process: exact event times, no binning."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jensen.core import Compiled, InputError, PointPosterior, Scalar, Space, Target, as_scalar, real_space, require
from jensen.families import Gaussian
from jensen.gp._linalg import jitter
from jensen.gp.kernels.stationary import as_rows

KEPT = 1e-8  # of the largest eigenvalue: smaller ones are rounding, and would be divided by


class SquareRootCox(Target):
    """Events t_i of a Poisson process of intensity h(x)^2 on a region S, h ~ GP(0, k): the posterior of h.

    log p = 2 sum_i log h(t_i) - int_S h^2 - |h|_k^2 / 2, the last term the norm of h in the RKHS of k. Both quadratic
    terms together are half a squared norm in another RKHS, of the kernel with eigenvalues l / (1 + 2 l) in place of l
    (the integral of h^2 changes the kernel), so that the mode is a sum of n functions, one for each event. Held here by
    Nystrom's features: with K = Q L Q^T at m points u of a grid on S, h(x) = L^(-1/2) Q^T k_u(x) . z with z ~ N(0, I),
    truncated where L falls below 1e-8 of its largest; the integral is a sum over the grid.

    h is taken as positive at every event: h and -h say the same, and between events of either sign the density is zero,
    so that this is one of 2^n mirror images, the one that joins all events. There -log p is convex, and `Laplace` from
    `point()` finds its one mode. `Laplace`, `NUTS`, and every method for log densities work on it.

    `kernel`: k, whose variance is that of sqrt(intensity). `events`: (n, d) or (n,). `grid`: (m, d) or (m,), points
    that stand for cells of `volume` each. `observed`: (m,), the share of each cell that was watched (windows; 1
    without). `counts`: (n,), events at each place (1 without; places with 0 pad sets of events to one shape).
    `exposure`: the intensity is exposure * h^2. `rank`: features to keep, those below the cut as zeros, so that other
    lengthscales run the same compiled program (without: as many as there are above it).

    Raises `InputError` for events that are not finite or none at all, and a grid of other width.

    Source: Flaxman, Teh and Sejdinovic (2017), Poisson intensity estimation with reproducing kernels; Mei, Imani and
    Lan (2024), Bayesian optimization through Gaussian Cox process models for spatio-temporal data.
    """

    space: Space
    kernel: Any
    events: Float[Array, "n d"]
    grid: Float[Array, "m d"]
    weights: Float[Array, " m"]
    exposure: Scalar
    projection: Float[Array, "m r"]
    counts: Float[Array, " n"]
    at_events: Float[Array, "n r"]
    at_grid: Float[Array, "m r"]

    def __init__(
        self,
        kernel: Any,
        events: Any,
        grid: Any,
        volume: Any,
        observed: Any = None,
        counts: Any = None,
        exposure: Any = 1.0,
        rank: int | None = None,
    ):
        events, grid = np.asarray(events, float), np.asarray(grid, float)
        events, grid = (a[:, None] if a.ndim == 1 else a for a in (events, grid))
        require(len(events) > 0, "A square-root Cox process needs at least one event: without any its mode is zero")
        require(
            events.shape[1] == grid.shape[1], f"Events have {events.shape[1]} coordinates, the grid {grid.shape[1]}"
        )
        if not (np.all(np.isfinite(events)) and np.all(np.isfinite(grid))):
            raise InputError("Events and grid must be finite: drop NaN and infinity")
        real = jnp.result_type(float)
        self.events, self.grid, self.kernel = jnp.asarray(events, real), jnp.asarray(grid, real), kernel
        self.counts = jnp.ones(len(events), real) if counts is None else jnp.asarray(counts, real)
        require(float(jnp.sum(self.counts)) > 0, "counts must have at least one event: all are 0")
        share = jnp.ones(len(grid), real) if observed is None else jnp.asarray(observed, real)
        self.weights, self.exposure = as_scalar(volume) * share, as_scalar(exposure)
        gram = kernel(self.grid, self.grid)
        value, vector = jnp.linalg.eigh(gram + jitter(gram) * jnp.eye(len(grid), dtype=real))
        kept = min(rank or int(np.sum(np.asarray(value) > KEPT * float(value[-1]))), len(grid))
        sound = value[-kept:] > KEPT * value[-1]
        self.projection = jnp.where(sound, vector[:, -kept:] / jnp.sqrt(jnp.where(sound, value[-kept:], 1.0)), 0.0)
        self.at_events, self.at_grid = self.features(self.events), self.features(self.grid)
        self.space = real_space(z=(kept,))

    def features(self, x: Any) -> Float[Array, "p r"]:
        """phi(x), with h(x) = phi(x) . z."""
        return self.kernel(as_rows(jnp.asarray(x, self.grid.dtype)), self.grid) @ self.projection

    def log_likelihood(self, z: Float[Array, " r"]) -> Float[Array, ""]:
        """sum_i log intensity(t_i) - integral of the intensity; -inf where h is not positive at an event."""
        at_events = self.at_events @ z
        positive = jnp.all((at_events > 0) | (self.counts == 0))
        logs = jnp.log(jnp.where(at_events > 0, at_events, 1.0))
        seen = self.counts @ (jnp.log(self.exposure) + 2 * logs)
        return jnp.where(positive, seen - self.exposure * self.weights @ (self.at_grid @ z) ** 2, -jnp.inf)

    def log_density(self, z: Float[Array, " r"]) -> Float[Array, ""]:
        return self.log_likelihood(z) - 0.5 * z @ z - 0.5 * z.shape[0] * jnp.log(2 * jnp.pi)

    def point(self) -> PointPosterior:
        """The constant h = sqrt(n / exposure |S|) in these features, to start from: positive at every event."""
        level = jnp.sqrt(jnp.sum(self.counts) / (self.exposure * jnp.sum(self.weights)))
        # the kernel interpolant of the constant: z = L^(-1/2) Q^T level 1
        z = self.projection.T @ jnp.full(len(self.grid), level)
        if not jnp.all((self.at_events @ z > 0) | (self.counts == 0)):
            raise InputError(
                f"No constant intensity is within reach of {type(self.kernel).__name__} on this grid: lengthen the "
                "lengthscale or take a finer grid, that reaches all events"
            )
        return PointPosterior(self.space, z)

    @Compiled
    def root(self, q: Gaussian, x: Any) -> tuple[Float[Array, " p"], Float[Array, " p"]]:
        """Mean and standard deviation of h at x for z ~ q."""
        phi = self.features(x)
        return phi @ q.mean, jnp.sqrt(jnp.sum((phi @ q.scale_tril) ** 2, 1))

    @Compiled
    def intensity(self, q: Gaussian, x: Any) -> tuple[Float[Array, " p"], Float[Array, " p"]]:
        """Mean and standard deviation of exposure * h(x)^2 for z ~ q, in events a unit of volume."""
        mean, sd = self.root(q, x)
        spread = jnp.sqrt(4 * mean**2 * sd**2 + 2 * sd**4)
        return self.exposure * (mean**2 + sd**2), self.exposure * spread

    @Compiled
    def band(self, q: Gaussian, x: Any, quantile: float = 1.6449) -> tuple[Float[Array, " p"], Float[Array, " p"]]:
        """Lower and upper intensity at x: exposure * (|mean| -+ quantile sd)^2 of h, not below zero."""
        mean, sd = self.root(q, x)
        low = jnp.maximum(jnp.abs(mean) - quantile * sd, 0.0)
        return self.exposure * low**2, self.exposure * (jnp.abs(mean) + quantile * sd) ** 2


@Compiled
def laplace_log_evidence(target: Target, q: Gaussian) -> Float[Array, ""]:
    """log p(z*) + d/2 log 2 pi + 1/2 log det cov: Laplace's approximation to the log normaliser, from its q."""
    log_det = jnp.sum(jnp.log(jnp.abs(jnp.diagonal(q.scale_tril))))
    return target.log_density(q.mean) + 0.5 * q.mean.shape[0] * jnp.log(2 * jnp.pi) + log_det
