"""Closed manifolds as spaces of latents: projection, volume, curvature and uniform draws."""

import abc
import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import InputError, PRNGKey
from jensen.vae.rotations import nearest_rotation

_HALVINGS = 55  # of the interval that holds the angle of a uniform draw on the embedded torus


class Manifold(eqx.Module):
    """A closed Riemannian manifold of dimension d, embedded in R^m with the metric of R^m."""

    @property
    @abc.abstractmethod
    def dimension(self) -> int:
        """d."""

    @property
    @abc.abstractmethod
    def ambient(self) -> int:
        """m."""

    @property
    @abc.abstractmethod
    def log_volume(self) -> float:
        """Logarithm of the d-dimensional volume."""

    @property
    @abc.abstractmethod
    def least_curvature(self) -> float:
        """The smallest scalar curvature of any point."""

    @abc.abstractmethod
    def scalar_curvature(self, z: Float[Array, " m"]) -> Float[Array, ""]:
        """Scal(z): twice the Gaussian curvature where d = 2."""

    @abc.abstractmethod
    def project(self, y: Float[Array, " m"]) -> Float[Array, " m"]:
        """A point of the manifold, for points of it themselves, differentiable almost everywhere."""

    @abc.abstractmethod
    def sample(self, key: PRNGKey) -> Float[Array, " m"]:
        """A uniform draw."""

    def log_heat_kernel(self, mean: Float[Array, " m"], z: Float[Array, " m"], t: Float[Array, ""]) -> Float[Array, ""]:
        """log p_t(z | mean) of Brownian motion, generator Laplace-Beltrami / 2, per unit volume, to an error of O(t).

        -d/2 log(2 pi t) - |z - mean|^2 / 2t with the distance in R^m, unless a class knows better.
        """
        return -0.5 * self.dimension * jnp.log(2 * math.pi * t) - 0.5 * jnp.sum((z - mean) ** 2) / t


class Round(Manifold):
    """Points of {z in R^(d+1): |z| = 1}, Scal = d (d - 1). Raises `InputError` for d below one."""

    size: eqx.AbstractVar[int]

    def __check_init__(self):
        _check_size(self.size)

    @property
    def dimension(self) -> int:
        return self.size

    @property
    def ambient(self) -> int:
        return self.size + 1

    @property
    def least_curvature(self) -> float:
        return float(self.size * (self.size - 1))

    def scalar_curvature(self, z: Float[Array, " m"]) -> Float[Array, ""]:
        return jnp.full((), self.least_curvature, z.dtype)

    def project(self, y: Float[Array, " m"]) -> Float[Array, " m"]:
        return _unit(y)

    def sample(self, key: PRNGKey) -> Float[Array, " m"]:
        return _unit(jax.random.normal(key, (self.ambient,), jnp.result_type(float)))


class Sphere(Round):
    """S^d, the unit sphere of R^(d+1): volume 2 pi^((d+1)/2) / Gamma((d+1)/2)."""

    size: int = eqx.field(static=True)

    @property
    def log_volume(self) -> float:
        return math.log(2) + 0.5 * (self.size + 1) * math.log(math.pi) - math.lgamma(0.5 * (self.size + 1))

    def log_heat_kernel(self, mean: Float[Array, " m"], z: Float[Array, " m"], t: Float[Array, ""]) -> Float[Array, ""]:
        """-d/2 log(2 pi t) - r^2 / 2t + (d - 1)/2 log(r / sin r) + Scal t / 12, r the angle: an error of O(t^2)."""
        half = 0.5 * jnp.sqrt(jnp.maximum(jnp.sum((z - mean) ** 2), jnp.finfo(z.dtype).tiny))
        angle = 2 * jnp.arcsin(jnp.minimum(half, 1 - 1e-6))
        spread = 0.5 * (self.size - 1) * jnp.log(angle / jnp.sin(angle)) + self.least_curvature * t / 12
        return -0.5 * self.size * jnp.log(2 * math.pi * t) - 0.5 * angle**2 / t + spread


class ProjectiveSpace(Round):
    """RP^d: points z and -z of S^d are one, so that the volume is half. Decoders must be even: see `Symmetrised`."""

    size: int = eqx.field(static=True)

    @property
    def log_volume(self) -> float:
        return Sphere(self.size).log_volume - math.log(2)

    def log_heat_kernel(self, mean: Float[Array, " m"], z: Float[Array, " m"], t: Float[Array, ""]) -> Float[Array, ""]:
        """The sum over both points of the sphere."""
        sphere = Sphere(self.size)
        return jnp.logaddexp(sphere.log_heat_kernel(mean, z, t), sphere.log_heat_kernel(mean, -z, t))


class FlatTorus(Manifold):
    """(S^1)^d in R^(2d), pairs (cos a_i, sin a_i) one after another: Scal = 0. Raises `InputError` for d below one."""

    size: int = eqx.field(static=True)

    def __check_init__(self):
        _check_size(self.size)

    @property
    def dimension(self) -> int:
        return self.size

    @property
    def ambient(self) -> int:
        return 2 * self.size

    @property
    def log_volume(self) -> float:
        return self.size * math.log(2 * math.pi)

    @property
    def least_curvature(self) -> float:
        return 0.0

    def scalar_curvature(self, z: Float[Array, " m"]) -> Float[Array, ""]:
        return jnp.zeros((), z.dtype)

    def project(self, y: Float[Array, " m"]) -> Float[Array, " m"]:
        return jax.vmap(_unit)(y.reshape(self.size, 2)).reshape(-1)

    def sample(self, key: PRNGKey) -> Float[Array, " m"]:
        return self.project(jax.random.normal(key, (self.ambient,), jnp.result_type(float)))

    def log_heat_kernel(self, mean: Float[Array, " m"], z: Float[Array, " m"], t: Float[Array, ""]) -> Float[Array, ""]:
        """Wrapped normals, to all digits for t up to about 4: sum over the seven nearest turns."""
        a, b = mean.reshape(self.size, 2), z.reshape(self.size, 2)
        angle = jnp.arctan2(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0], jnp.sum(a * b, axis=1))
        turns = angle[:, None] + 2 * math.pi * jnp.arange(-3, 4)
        return jnp.sum(jax.nn.logsumexp(-0.5 * turns**2 / t, axis=1) - 0.5 * jnp.log(2 * math.pi * t))


class EmbeddedTorus(Manifold):
    """The torus in R^3 of radii c > a: ((c + a cos b) cos e, (c + a cos b) sin e, a sin b).

    Volume 4 pi^2 c a, Scal = 2 cos b / (a (c + a cos b)), negative on the inner side. Raises `InputError` unless
    c > a > 0.
    """

    major: float = eqx.field(static=True, default=2.0)
    minor: float = eqx.field(static=True, default=1.0)

    def __check_init__(self):
        if not self.major > self.minor > 0:
            raise InputError(f"The radii of a torus must be major > minor > 0, got {self.major} and {self.minor}")

    @property
    def dimension(self) -> int:
        return 2

    @property
    def ambient(self) -> int:
        return 3

    @property
    def log_volume(self) -> float:
        return math.log(4 * math.pi**2 * self.major * self.minor)

    @property
    def least_curvature(self) -> float:
        return -2 / (self.minor * (self.major - self.minor))

    def scalar_curvature(self, z: Float[Array, " m"]) -> Float[Array, ""]:
        along = jnp.sqrt(jnp.sum(z[:2] ** 2))  # c + a cos b
        return 2 * (along - self.major) / (self.minor**2 * along)

    def project(self, y: Float[Array, " m"]) -> Float[Array, " m"]:
        out = _unit(y[:2])
        centre = self.major * jnp.append(out, 0.0)
        return centre + self.minor * _unit(y - centre)

    def sample(self, key: PRNGKey) -> Float[Array, " m"]:
        e, u = jax.random.uniform(key, (2,), jnp.result_type(float), -math.pi, math.pi)
        ratio = self.minor / self.major

        def halve(_: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
            low, high = ends  # u = b + a/c sin b: Kepler's equation, of density c + a cos b
            b = 0.5 * (low + high)
            below = b + ratio * jnp.sin(b) < u
            return jnp.where(below, b, low), jnp.where(below, high, b)

        end = jnp.full_like(u, math.pi)
        b = jax.lax.fori_loop(0, _HALVINGS, halve, (-end, end))[0]
        along = self.major + self.minor * jnp.cos(b)
        return jnp.stack([along * jnp.cos(e), along * jnp.sin(e), self.minor * jnp.sin(b)])


class RotationGroup(Manifold):
    """SO(3): rotation matrices, row by row in R^9; a turn by an angle is a path of sqrt(2) times that length.

    It is a projective space of dimension 3 and radius 2 sqrt(2): volume 16 sqrt(2) pi^2, Scal = 3/4.
    """

    @property
    def dimension(self) -> int:
        return 3

    @property
    def ambient(self) -> int:
        return 9

    @property
    def log_volume(self) -> float:
        return math.log(16 * math.sqrt(2) * math.pi**2)

    @property
    def least_curvature(self) -> float:
        return 0.75

    def scalar_curvature(self, z: Float[Array, " m"]) -> Float[Array, ""]:
        return jnp.full((), 0.75, z.dtype)

    def project(self, y: Float[Array, " m"]) -> Float[Array, " m"]:
        return nearest_rotation(y.reshape(3, 3)).reshape(-1)

    def sample(self, key: PRNGKey) -> Float[Array, " m"]:
        w, x, y, z = _unit(jax.random.normal(key, (4,), jnp.result_type(float)))
        rows = [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
        return jnp.stack([entry for row in rows for entry in row])


def _unit(y: Float[Array, " m"]) -> Float[Array, " m"]:
    return y / jnp.sqrt(jnp.maximum(jnp.sum(y**2), jnp.finfo(y.dtype).tiny))


def _check_size(size: int) -> None:
    if size < 1:
        raise InputError(f"The dimension of a manifold must be at least 1, got {size}")
