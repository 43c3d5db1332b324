"""The Riemannian metric that an encoder's covariances draw on its latents: volumes, draws and geodesics."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen._run import drive
from jensen.algorithms import NUTS, Mode
from jensen.core import InputError, PointPosterior, PRNGKey, Scalar, Space, Target, check_key, real_space, scalar_field
from jensen.targets import from_log_density


class LatentMetric(eqx.Module):
    """G(z) = sum_i diag(P_i) exp(-(z - m_i)^T diag(P_i) (z - m_i) / rho^2) + floor exp(-fall |z|^2) I, diagonal.

    m_i, P_i: mean and precisions of q(z | x_i), shape (centres, d). Space is stretched where the encoder is sure. Far
    from all codes G falls off at the rate `fall`; with `fall` zero the volume sqrt det G would have no finite integral.

    Source: Chadebec and Allassonniere (2022), A geometric perspective on variational autoencoders (without the fall).
    """

    means: Float[Array, "k d"]
    precisions: Float[Array, "k d"]
    width: Scalar = scalar_field()
    floor: Scalar = scalar_field(1e-4)
    fall: Scalar = scalar_field(1e-2)

    def __call__(self, z: Float[Array, " d"]) -> Float[Array, " d"]:
        """The diagonal of G(z)."""
        return jnp.exp(self.log_diagonal(z))

    def log_diagonal(self, z: Float[Array, " d"]) -> Float[Array, " d"]:
        """log G_jj(z), by a sum of logarithms: G underflows away from the codes."""
        distance = jnp.sum(self.precisions * (z - self.means) ** 2, axis=1) / self.width**2
        near = jax.nn.logsumexp(jnp.log(self.precisions) - distance[:, None], axis=0)
        return jnp.logaddexp(near, jnp.log(self.floor) - self.fall * jnp.sum(z**2))

    def log_volume(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        """log sqrt det G(z)."""
        return 0.5 * jnp.sum(self.log_diagonal(z))

    def energy(self, curve: Float[Array, "points d"]) -> Float[Array, ""]:
        """1/2 sum (points - 1) v^T G v of a curve at equal steps of time: at a minimum it is a geodesic."""
        steps = jnp.diff(curve, axis=0)
        middle = 0.5 * (curve[1:] + curve[:-1])
        return 0.5 * (len(curve) - 1) * jnp.sum(steps**2 * jax.vmap(self)(middle))

    def length(self, curve: Float[Array, "points d"]) -> Float[Array, ""]:
        """sum sqrt(v^T G v)."""
        steps = jnp.diff(curve, axis=0)
        middle = 0.5 * (curve[1:] + curve[:-1])
        return jnp.sum(jnp.sqrt(jnp.sum(steps**2 * jax.vmap(self)(middle), axis=1)))


def latent_metric(
    key: PRNGKey,
    conditional: Any,
    X: Float[Array, "rows n"],
    centres: int | None = None,
    width: float | None = None,
    floor: float = 1e-4,
    fall: float = 1e-2,
) -> LatentMetric:
    """The metric of a conditional with `mean_and_cov` from the codes of rows X, or of `centres` rows drawn from them.

    `width`: rho; where None half the mean distance of a centre to its nearest neighbour, in units of the encoder's
    scales, so that neighbours meet half way. With wider ones draws leave the codes for where the encoder is surest.

    Raises `InputError` for fewer than two centres or more than rows, and for settings that are not positive.
    """
    check_key(key)
    count = len(X) if centres is None else centres
    if not 2 <= count <= len(X):
        raise InputError(f"A metric wants from 2 to all {len(X)} rows as centres, got {count}")
    if min(floor, fall) <= 0 or (width is not None and width <= 0):
        raise InputError(f"floor, fall and width must be positive, got {floor}, {fall} and {width}")
    chosen = jax.random.permutation(key, len(X))[:count]
    means, precisions = _codes(conditional, X[chosen])
    return LatentMetric(means, precisions, _spacing(means, precisions) if width is None else width, floor, fall)


@eqx.filter_jit
def _codes(conditional: Any, X: Array) -> tuple[Array, Array]:
    means, covs = jax.vmap(lambda x: conditional.given(x).mean_and_cov())(X)
    return means, 1 / jnp.diagonal(covs, axis1=1, axis2=2)


@jax.jit
def _spacing(means: Array, precisions: Array) -> Array:
    squares = jnp.sum(precisions[:, None] * (means[:, None] - means) ** 2, axis=2)
    return 0.5 * jnp.mean(jnp.sqrt(jnp.min(jnp.where(jnp.eye(len(means), dtype=bool), jnp.inf, squares), axis=1)))


class RiemannianUniform(Target):
    """p(z) = sqrt(det G(z))^(1 / temperature) / Z, G a `LatentMetric`: uniform on the latents' manifold at one.

    Temperatures below one press draws to the codes: 1/4 is the law that a published sampler follows unawares, whose
    momenta have half the scale that its acceptance assumes.

    Source: Chadebec and Allassonniere (2022).
    """

    space: Space = eqx.field(static=True)
    metric: LatentMetric
    temperature: Scalar = scalar_field(1.0)

    def log_density(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        return self.metric.log_volume(z) / self.temperature

    def start(self, key: PRNGKey) -> Float[Array, " d"]:
        """A centre."""
        return self.metric.means[jax.random.randint(key, (), 0, self.metric.means.shape[0])]


def riemannian_uniform(metric: LatentMetric, temperature: float = 1.0) -> RiemannianUniform:
    """The target of draws by volume, for any sampler. Raises `InputError` unless the temperature is positive."""
    if not temperature > 0:
        raise InputError(f"The temperature must be positive, got {temperature}")
    return RiemannianUniform(real_space(z=(metric.means.shape[1],)), metric, temperature)


def sample_metric(
    key: PRNGKey, metric: LatentMetric, num: int, temperature: float = 1.0, chains: int = 50, warmup: int = 50
) -> Float[Array, "num d"]:
    """`num` draws by volume: NUTS in `chains` chains, begun at random codes, `warmup` transitions each dropped.

    Chains may stay among the codes at which they begin: with as many as centres, starts stand in for moves between
    modes, and modes then count by their codes and not by their volume.

    Raises `InputError` for fewer than one draw or chain.
    """
    check_key(key)
    if min(num, chains, warmup) < 1:
        raise InputError(f"Draws, chains and warm-up must be at least 1, got {num}, {chains} and {warmup}")
    target = riemannian_uniform(metric, temperature)
    key_start, key_run = jax.random.split(key)
    order = jax.random.permutation(key_start, len(metric.means))
    starts = metric.means[order[jnp.arange(chains) % len(order)]]
    kept = -(-num // chains)
    outcome = drive(
        NUTS(chains=chains, warmup=warmup / (warmup + kept), max_doublings=5),
        target,
        key=key_run,
        steps=warmup + kept,
        start=PointPosterior(target.space, starts[0], others=starts[1:]),
        progress=False,
    )
    posterior: Any = outcome.posterior
    return jnp.swapaxes(posterior.chains, 0, 1).reshape(-1, metric.means.shape[1])[:num]


def geodesic(
    metric: LatentMetric, start: Float[Array, " d"], end: Float[Array, " d"], points: int = 32, steps: int = 500
) -> Float[Array, "points d"]:
    """The curve of least energy from `start` to `end` among broken lines of `points` points, by L-BFGS.

    A local minimum near the straight line, which it starts from. Raises `InputError` for fewer than three points.
    """
    if points < 3:
        raise InputError(f"A curve wants at least 3 points, got {points}")
    line = start + jnp.linspace(0.0, 1.0, points)[:, None] * (end - start)
    target = from_log_density(_minus_energy, line[1:-1], metric, start, end)
    outcome = drive(
        Mode(num_starts=1, tolerance=1e-10),
        target,
        key=jax.random.key(0),
        steps=steps,
        start=PointPosterior(target.space, line[1:-1].reshape(-1)),
        progress=False,
    )
    found: Any = outcome.posterior
    return jnp.concatenate([start[None], found.z.reshape(points - 2, -1), end[None]])


def _minus_energy(inner: Array, metric: LatentMetric, start: Array, end: Array) -> Float[Array, ""]:
    return -metric.energy(jnp.concatenate([start[None], inner, end[None]]))
