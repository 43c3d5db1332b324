"""A manifold of any topology as a mixture of autoencoders whose encoders invert their decoders exactly."""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jensen.core import BatchObjective, Compiled, Density, Estimate, InputError, PRNGKey, Scalar, scalar_field
from jensen.core.compiled import PASSES
from jensen.families import Flow

SHARPNESS = 20.0  # nats that the density of a `SoftBox` falls by over one radius beyond its edge


class SoftBox(Density):
    """p(z) = prod_j exp(-b max(|z_j| / r - 1, 0)) / (2 r (1 + 1/b)): flat on [-r, r]^d, falling beyond; b = 20.

    `radius`: r.
    """

    size: int = eqx.field(static=True)
    radius: Scalar = scalar_field(1.0)

    @property
    def dimension(self) -> int:
        return self.size

    def sample(self, key: PRNGKey) -> Float[Array, " d"]:
        real = jnp.result_type(float)
        side, place, beyond = (
            draw(k, (self.size,), real)
            for draw, k in zip(
                (jax.random.uniform, jax.random.uniform, jax.random.exponential), jax.random.split(key, 3), strict=True
            )
        )
        inside = place < 1 / (1 + 1 / SHARPNESS)
        far = jnp.where(inside, place * (1 + 1 / SHARPNESS), 1 + beyond / SHARPNESS)
        return jnp.where(side < 0.5, -1, 1) * self.radius * far

    def log_prob(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        over = jnp.maximum(jnp.abs(z) / self.radius - 1, 0)
        return -SHARPNESS * jnp.sum(over) - self.size * jnp.log(2 * self.radius * (1 + 1 / SHARPNESS))

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "SoftBox":
        return cls(int(config["dimension"]))


class Chart(eqx.Module):
    """x = c + U diag(l) T([z, 0]), z in R^d, T an invertible flow of R^D: d coordinates of a piece of a manifold.

    `centre`: c. `frame`: U, orthogonal, its first d columns along the manifold. `lengths`: l.
    """

    flow: Flow
    centre: Float[Array, " n"]
    frame: Float[Array, "n n"]
    lengths: Float[Array, " n"]
    size: int = eqx.field(static=True)

    def decode(self, z: Float[Array, " d"]) -> Float[Array, " n"]:
        """The point with these coordinates."""
        padded = jnp.concatenate([z, jnp.zeros(self.centre.shape[-1] - self.size, z.dtype)])
        return self.centre + self.frame @ (self.lengths * self.flow.transform(padded)[0])

    def encode(self, x: Float[Array, " n"]) -> Float[Array, " d"]:
        """The coordinates of a point: the first d of T^-1, exact for points that `decode` gives."""
        return self.flow.inverse((self.frame.T @ (x - self.centre)) / self.lengths)[: self.size]

    def metric(self, z: Float[Array, " d"]) -> Float[Array, "d d"]:
        """G = J^T J, J = d decode / dz: squared lengths on the manifold of steps in coordinates."""
        jacobian = jax.jacfwd(self.decode)(z)
        return jacobian.T @ jacobian

    def gradient(self, z: Float[Array, " d"], loss: Callable[[Any], Any]) -> Float[Array, " d"]:
        """G^-1 d loss(decode(z)) / dz: the Riemannian gradient of a function of points, in coordinates."""
        jacobian, x = jax.jacfwd(lambda z: (self.decode(z),) * 2, has_aux=True)(z)
        return jnp.linalg.solve(jacobian.T @ jacobian, jacobian.T @ jax.grad(loss)(x))


class Atlas(eqx.Module):
    """p(x) = sum_k w_k int N(x; D_k(z), sigma^2 I) p(z) dz: K charts, whose encoders E_k and decoders D_k are inverse.

    `charts`: leading axis K, trained. `logits`: w = softmax, trained. `prior`: p(z), a `SoftBox`. `noise`: sigma.
    `spread`: s, the standard deviation of q(z | x, k) = N(E_k(x), s^2 I).

    Source: Alberti, Hertrich, Santacesaria and Sciutto (2024), Manifold learning by mixture models of VAEs for inverse
    problems.
    """

    charts: Chart
    logits: Float[Array, " k"]
    prior: SoftBox
    noise: Scalar = scalar_field(0.05)
    spread: Scalar = scalar_field(0.02)

    def partition(self) -> tuple["Atlas", "Atlas"]:
        """(trainable, rest): the flows and the weights of charts are trained."""
        trained, rest = self.charts.flow.partition()
        nothing: Any = eqx.filter(self, lambda _: False)
        some = eqx.tree_at(lambda a: (a.charts.flow, a.logits), nothing, (trained, self.logits), is_leaf=_is_none)
        return some, eqx.tree_at(lambda a: (a.charts.flow, a.logits), self, (rest, None))

    def seen(self, row: Float[Array, " n"]) -> tuple["Atlas", Float[Array, " n"]]:
        """As `LatentModel.seen`."""
        return self, row

    def log_weights(self) -> Float[Array, " k"]:
        """log w."""
        return jax.nn.log_softmax(self.logits)

    def encode(self, x: Float[Array, " n"]) -> Float[Array, "k d"]:
        """The coordinates of a point in each chart."""
        return jax.vmap(lambda chart: chart.encode(x))(self.charts)

    def decode(self, z: Float[Array, "k d"]) -> Float[Array, "k n"]:
        """The points with these coordinates, one in each chart."""
        return jax.vmap(lambda chart, z: chart.decode(z))(self.charts, z)

    def misfits(self, x: Float[Array, " n"], z: Float[Array, "k d"]) -> Float[Array, " k"]:
        """||x - D_k(z_k)||^2 / (2 sigma^2) - log p(z_k), in nats."""
        return self._misfits(x, z, self.decode(z))

    def _misfits(
        self, x: Float[Array, " n"], z: Float[Array, "k d"], decoded: Float[Array, "k n"]
    ) -> Float[Array, " k"]:
        error = jnp.sum((x - decoded) ** 2, 1)
        return 0.5 * error / self.noise**2 - jax.vmap(self.prior.log_prob)(z)

    def responsibilities(self, x: Float[Array, " n"]) -> Float[Array, " k"]:
        """b_k proportional to w_k exp(-misfit at E_k(x)): which charts hold the point."""
        return jax.nn.softmax(self.log_weights() - self.misfits(x, self.encode(x)))

    def project(self, x: Float[Array, " n"]) -> Float[Array, " n"]:
        """D_k(E_k(x)) by the chart with the largest responsibility."""
        return self.decode(self.encode(x))[jnp.argmax(self.responsibilities(x))]


def _is_none(value: Any) -> bool:
    return value is None


class AtlasLoss(BatchObjective):
    """sum_k b_k (L_k - log w_k), L_k = misfit_k(x, E_k(x) + s eps) - d log s, b = softmax_k(log w_k - L_k).

    Gradients go through b too. The value exceeds -log sum_k w_k exp(-L_k) by the entropy of b; no bound is declared.
    `assigned`: 1 takes the chart with the nearest centre alone (to begin with), 0 all by b. `penalty`: weight of
    ||D_k(z) - D_k(z + s eps)||^2 / sigma^2, which keeps charts smooth while they are young.

    Raises `InputError` for a model that is no `Atlas`.

    Source: Alberti, Hertrich, Santacesaria and Sciutto (2024).
    """

    bound: ClassVar[str | None] = None
    assigned: Scalar = scalar_field(0.0)
    penalty: Scalar = scalar_field(0.0)

    def losses(self, key: PRNGKey, conditional: Any, rows: Any, local: Callable[[Any], Any], num_rows: int) -> Estimate:
        def one(key: PRNGKey, row: Any) -> Float[Array, ""]:
            target = local(row)
            atlas: Any = target.model
            if not isinstance(atlas, Atlas):
                raise InputError(f"AtlasLoss trains an Atlas, got {type(atlas).__name__}")
            z = atlas.encode(target.x)
            noisy = z + atlas.spread * jax.random.normal(key, z.shape, z.dtype)
            # at once: the compiler does not see that two passes through the flows are the same
            clear, decoded = jax.vmap(atlas.decode)(jnp.stack([z, noisy]))
            loss = atlas._misfits(target.x, noisy, decoded) - z.shape[1] * jnp.log(atlas.spread)
            joint = loss - atlas.log_weights()
            near = jnp.argmin(jnp.sum((target.x - atlas.charts.centre) ** 2, 1))
            held = jax.nn.one_hot(near, len(joint), dtype=joint.dtype)
            shares = self.assigned * held + (1 - self.assigned) * jax.nn.softmax(-joint)
            rough = jnp.sum((clear - decoded) ** 2, 1) / atlas.noise**2
            return jnp.sum(shares * (joint + self.penalty * rough))

        value = jax.vmap(one)(jax.random.split(key, jax.tree.leaves(rows)[0].shape[0]), rows)
        return jax.vmap(Estimate)(value, value, jnp.full_like(value, jnp.nan))


class Descent(eqx.Module):
    """`path`: points, (steps + 1, n). `chart`: which chart made each. `value`: the loss there."""

    path: Float[Array, "t n"]
    chart: Int[Array, " t"]
    value: Float[Array, " t"]


HALVINGS = 12


def descend(
    atlas: Atlas, loss: Callable[[Any], Any], start: Float[Array, " n"], step_size: Any = 1.0, steps: int = 100
) -> Descent:
    """Riemannian gradient descent of loss(x) over the manifold: z <- z - a G^-1 d loss / dz in each chart that holds x.

    a is the best of step_size / 2^j, j = 0 .. 11, and the chart that lowers the loss the most takes the step, so that
    a path goes from chart to chart where they overlap, and never climbs. Coordinates stay within the prior's radius.
    The first point is the projection of `start`. A `loss` that is an `eqx.Module` is compiled once for all its numbers.

    Raises `InputError` for fewer than one step.

    Source: Alberti, Hertrich, Santacesaria and Sciutto (2024), by the retraction D_k; their average over charts leaves
    the manifold where charts disagree.
    """
    if steps < 1:
        raise InputError(f"steps must be at least 1, got {steps}")
    return _descend(atlas, loss, start, jnp.asarray(step_size, start.dtype), steps)


@partial(Compiled, small=PASSES)
def _descend(atlas: Atlas, loss: Callable[[Any], Any], start: Array, step_size: Array, steps: int) -> Descent:
    radius = atlas.prior.radius
    factors = step_size * 0.5 ** jnp.arange(HALVINGS, dtype=start.dtype)

    def step(carry: Any, _: Any) -> tuple[Any, Any]:
        x, value, at = carry
        held = atlas.responsibilities(x) > 1e-3

        def tried(chart: Chart) -> tuple[Array, Array]:
            z = chart.encode(x)
            moves = z - factors[:, None] * chart.gradient(z, loss)
            points = jax.vmap(chart.decode)(jnp.clip(moves, -radius, radius))
            return points, jax.vmap(loss)(points)

        points, values = jax.vmap(tried)(atlas.charts)
        values = jnp.where(held[:, None] & jnp.isfinite(values), values, jnp.inf)
        best = jnp.argmin(values)
        better = values.reshape(-1)[best] < value
        x = jnp.where(better, points.reshape(-1, x.shape[0])[best], x)
        new = x, jnp.where(better, values.reshape(-1)[best], value), jnp.where(better, best // HALVINGS, at)
        return new, new

    x = atlas.project(start)
    first = x, loss(x), jnp.argmax(atlas.responsibilities(x))
    _, (path, value, chart) = jax.lax.scan(step, first, None, length=steps)
    joined = [jnp.concatenate([jnp.asarray(a)[None], b]) for a, b in zip(first, (path, value, chart), strict=True)]
    return Descent(joined[0], joined[2], joined[1])
