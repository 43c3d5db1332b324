"""Pathfinder: the best Gaussian met on the way of a quasi-Newton climb."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jensen._numerics.lbfgs import Descent, advance, decrement, inverse_hessian, start_descent, trial
from jensen.algorithms._starts import start_points
from jensen.core import (
    Algorithm,
    Clock,
    Compiled,
    DensityPosterior,
    InputError,
    LogDensity,
    Posterior,
    PRNGKey,
    Scalar,
    Space,
    Step,
    StopCode,
    WeightedPosterior,
    make_step,
    require,
    scalar_field,
)
from jensen.families import Gaussian


class Path(eqx.Module):
    """One climb: its descent, the Gaussian at its present point, and the best Gaussian so far with its ELBO and draws.

    `fresh` says that the present Gaussian has not been judged; `z` and `log_ratio` are the draws of the best Gaussian
    and their log p - log q; `closing` that the climb is over, and only its last Gaussian is left to be judged.
    """

    descent: Descent
    q: Gaussian
    fresh: Bool[Array, ""]
    best: Gaussian
    elbo: Float[Array, ""]
    z: Float[Array, "draws d"]
    log_ratio: Float[Array, " draws"]
    closing: Bool[Array, ""]


class PathfinderState(eqx.Module):
    """A path from every start (leading axis paths)."""

    paths: Path


class Climbs(Algorithm):
    """L-BFGS climbs from `num_paths` starts, each of which keeps its best local Gaussian: see `Pathfinder`."""

    needs: ClassVar[Any] = LogDensity
    num_paths: eqx.AbstractVar[int]
    num_draws: eqx.AbstractVar[int]
    memory: eqx.AbstractVar[int]
    tolerance: eqx.AbstractVar[Scalar]

    def __check_init__(self):
        sizes = {name: getattr(self, name) for name in ("num_paths", "num_draws", "memory")}
        good = min(sizes.values()) >= 1 and self.num_draws >= 2
        require(good, f"{type(self).__name__} needs sizes of 1 or more and two draws or more, got {sizes}", InputError)

    @property
    def default_steps(self) -> int:
        return 300

    def init(self, key: PRNGKey, target: Any, start: Posterior) -> PathfinderState:
        points = start_points(key, target, start, self.num_paths)
        d, dtype = points.shape[1], points.dtype

        def begin(z: Float[Array, " d"]) -> Path:
            q = Gaussian(z, jnp.eye(d, dtype=dtype))  # which no draw has judged
            lowest = jnp.asarray(jnp.finfo(dtype).min, dtype)
            no = jnp.asarray(False)
            none = jnp.broadcast_to(z, (self.num_draws, d))
            return Path(start_descent(z, self.memory), q, no, q, lowest, none, jnp.zeros(self.num_draws, dtype), no)

        return PathfinderState(jax.vmap(begin)(points))

    def step(self, key: PRNGKey, state: PathfinderState, target: Any, clock: Clock) -> tuple[PathfinderState, Step]:
        keys = jax.random.split(key, self.num_paths)
        paths = jax.vmap(lambda key, path: _walk(key, path, target, self.num_draws, self.tolerance))(keys, state.paths)
        stop = jnp.where(jnp.all(state.paths.closing), StopCode.CONVERGED, StopCode.CONTINUE)
        best = jnp.argmax(paths.elbo)
        known = paths.elbo[best] > jnp.finfo(paths.elbo.dtype).min
        objective = jnp.where(known, -paths.elbo[best], jnp.nan)
        return PathfinderState(paths), make_step(objective, jax.vmap(decrement)(paths.descent)[best], stop)


class Pathfinder(Climbs):
    """q = argmax over the points z_k of an L-BFGS climb of the ELBO of N(z_k + H_k grad log p(z_k), H_k).

    H_k is the inverse Hessian that L-BFGS has gathered by its k-th point: a local Gaussian that costs no more
    derivatives. A climb to the mode passes near the mass on its way, where the ELBO (by `num_draws` draws a point) is
    largest. Of `num_paths` climbs the best Gaussian comes out; `MultiPathfinder` weighs the draws of all of them.

    num_draws + 1 gradients a step and path, and O(d^3) for the factor of H_k. The spread comes from `memory` steps
    only, so that it is rough in more than a few dimensions of unequal scale: as a start for `BatchMatch` or NUTS it is
    good, as an end rarely. The objective in the history is the best -ELBO so far, in nats.

    Raises `InputError` for a size below 1 or fewer than two draws.

    Source: Zhang, Carpenter, Gelman and Vehtari (2022), Pathfinder: parallel quasi-Newton variational inference.
    """

    gives: ClassVar[type] = DensityPosterior
    num_paths: int = eqx.field(static=True, default=4)
    num_draws: int = eqx.field(static=True, default=20)
    memory: int = eqx.field(static=True, default=6)
    tolerance: Scalar = scalar_field(1e-4)

    def posterior(self, state: PathfinderState, draws: Any, space: Space) -> DensityPosterior:
        best = jnp.argmax(state.paths.elbo)
        return DensityPosterior(space, jax.tree.map(lambda leaf: leaf[best], state.paths.best))


class MultiPathfinder(Climbs):
    """Draws z of the best Gaussian q_i of every path with weights w = p(z) / q_i(z), smoothed by PSIS and normalised.

    As `Pathfinder`, with `num_paths` climbs and `num_draws` draws a path kept: several modes, and shapes that no one
    Gaussian has, can be met. The weights are smoothed by Pareto-smoothed importance sampling; a k-hat above 0.7 says
    that they cannot be trusted, which the certificate sees.

    Raises `InputError` for a size below 1 or fewer than two draws.

    Source: Zhang, Carpenter, Gelman and Vehtari (2022), Pathfinder: parallel quasi-Newton variational inference;
    Vehtari, Simpson, Gelman, Yao and Gabry (2024), Pareto smoothed importance sampling.
    """

    gives: ClassVar[type] = WeightedPosterior
    num_paths: int = eqx.field(static=True, default=8)
    num_draws: int = eqx.field(static=True, default=125)
    memory: int = eqx.field(static=True, default=6)
    tolerance: Scalar = scalar_field(1e-4)

    def posterior(self, state: PathfinderState, draws: Any, space: Space) -> WeightedPosterior:
        z, log_weights = _weigh(state.paths)
        return WeightedPosterior(space, z, log_weights)


def _walk(key: PRNGKey, path: Path, target: Any, num_draws: int, tolerance: Scalar) -> Path:
    keys = jax.random.split(key, num_draws)
    z, log_q = jax.vmap(path.q.sample_and_log_prob)(keys)
    # the trial and the draws in one batch: the graph holds the target once
    points = jnp.concatenate([trial(path.descent)[None], z])
    values, gradients = jax.vmap(jax.value_and_grad(lambda z: -target.log_density(z)))(points)

    log_ratio = -values[1:] - log_q
    elbo = jnp.where(path.fresh, jnp.mean(log_ratio), -jnp.inf)
    better = elbo > path.elbo  # never for a NaN
    best, z, log_ratio = jax.tree.map(
        lambda new, old: jnp.where(better, new, old), (path.q, z, log_ratio), (path.best, path.z, path.log_ratio)
    )

    descent, accepted, lost = advance(path.descent, values[0], gradients[0])
    remembered = jnp.any(descent.weights > 0)
    root = jnp.linalg.cholesky(inverse_hessian(descent))
    moved = accepted & remembered & jnp.all(jnp.isfinite(root)) & ~path.closing
    q = jax.tree.map(lambda new, old: jnp.where(moved, new, old), Gaussian(descent.z + descent.direction, root), path.q)
    closing = path.closing | lost | (accepted & remembered & (decrement(descent) < tolerance))
    return Path(descent, q, moved, best, jnp.where(better, elbo, path.elbo), z, log_ratio, closing)


@Compiled
def _weigh(paths: Path) -> tuple[Float[Array, "n d"], Float[Array, " n"]]:
    from blackjax.diagnostics import psis_weights

    z, log_ratio = paths.z.reshape(-1, paths.z.shape[-1]), paths.log_ratio.reshape(-1)
    known = jnp.repeat(paths.elbo > jnp.finfo(paths.elbo.dtype).min, paths.z.shape[1]) & jnp.isfinite(log_ratio)
    lowest = jnp.min(jnp.where(known, log_ratio, jnp.inf))
    log_weights, _ = psis_weights(jnp.where(known, log_ratio, lowest - 700.0))
    return z, log_weights
