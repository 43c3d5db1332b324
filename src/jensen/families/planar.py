"""The planar and radial flows."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

from jensen.core import InputError, PRNGKey
from jensen.families._builders import Builder
from jensen.families.bijective import Bijective
from jensen.families.gaussian import Gaussian

Pair = tuple[Float[Array, " d"], Float[Array, ""]]
BISECTIONS = 60  # halve the bracket beyond double precision


class PlanarFlow(Bijective):
    """z = m + L f_K(... f_1(u)), f(x) = x + v tanh(w . x + b): each layer bends space along one direction.

    log |det| = log |1 + (1 - tanh^2(w . x + b)) w . v|, with v = u + (softplus(w . u) - 1 - w . u) w / |w|^2, for which
    w . v > -1 and f is invertible. The inverse has no closed form: one root of a monotone function a layer, by
    bisection.

    `mean`, `scale_tril`: m and L. `weights`: w and `directions`: u, shape (K, d). `offsets`: b, shape (K,).
    O(K d + d^2) a draw.

    Source: Rezende and Mohamed (2015).
    """

    mean: Float[Array, " d"]
    scale_tril: Float[Array, "d d"]
    weights: Float[Array, "k d"]
    directions: Float[Array, "k d"]
    offsets: Float[Array, " k"]

    @property
    def dimension(self) -> int:
        return self.mean.shape[0]

    def transform(self, u: Float[Array, " d"]) -> Pair:
        def layer(x: Float[Array, " d"], parameters: Any) -> Pair:
            w, v, b = _invertible(*parameters)
            height = jnp.tanh(w @ x + b)
            return x + v * height, jnp.log1p((1 - height**2) * (w @ v))

        x, log_dets = jax.lax.scan(layer, u, (self.weights, self.directions, self.offsets))
        return _place(self, x, log_dets)

    def inverse(self, z: Float[Array, " d"]) -> Float[Array, " d"]:
        def back(y: Float[Array, " d"], parameters: Any) -> tuple[Float[Array, " d"], None]:
            w, v, b = _invertible(*parameters)
            return y - v * jnp.tanh(_height(w @ y, w @ v, b) + b), None

        x = solve_triangular(self.scale_tril, z - self.mean, lower=True)
        return jax.lax.scan(back, x, (self.weights, self.directions, self.offsets), reverse=True)[0]

    def config(self) -> dict[str, Any]:
        return {"dimension": self.dimension, "num_layers": self.offsets.shape[0]}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "PlanarFlow":
        return Planar(int(config["num_layers"])).build(jax.random.key(0), _standard(int(config["dimension"])))


class RadialFlow(Bijective):
    """z = m + L f_K(... f_1(u)), f(x) = x + beta h (x - c), h = 1 / (alpha + |x - c|): layers swell or shrink space.

    With r = |x - c|, log |det| = (d - 1) log(1 + beta h) + log(1 + beta h - beta r h^2); alpha = exp(log_alpha) and
    beta = softplus(raw_beta) - alpha > -alpha, for which f is invertible, in closed form.

    `mean`, `scale_tril`: m and L. `centres`: c, shape (K, d).
    `log_alphas`, `raw_betas`: shape (K,).

    Source: Rezende and Mohamed (2015).
    """

    mean: Float[Array, " d"]
    scale_tril: Float[Array, "d d"]
    centres: Float[Array, "k d"]
    log_alphas: Float[Array, " k"]
    raw_betas: Float[Array, " k"]

    @property
    def dimension(self) -> int:
        return self.mean.shape[0]

    def transform(self, u: Float[Array, " d"]) -> Pair:
        def layer(x: Float[Array, " d"], parameters: Any) -> Pair:
            centre, log_alpha, raw_beta = parameters
            alpha, beta = _alpha_beta(log_alpha, raw_beta)
            r = _length(x - centre)
            h = 1 / (alpha + r)
            log_det = (x.shape[0] - 1) * jnp.log1p(beta * h) + jnp.log1p(beta * h - beta * r * h**2)
            return x + beta * h * (x - centre), log_det

        x, log_dets = jax.lax.scan(layer, u, (self.centres, self.log_alphas, self.raw_betas))
        return _place(self, x, log_dets)

    def inverse(self, z: Float[Array, " d"]) -> Float[Array, " d"]:
        def back(y: Float[Array, " d"], parameters: Any) -> tuple[Float[Array, " d"], None]:
            centre, log_alpha, raw_beta = parameters
            alpha, beta = _alpha_beta(log_alpha, raw_beta)
            # r (1 + beta / (alpha + r)) = |y - c| is a quadratic in r
            half = 0.5 * (_length(y - centre) - alpha - beta)
            root = jnp.sqrt(half**2 + alpha * _length(y - centre))
            r = jnp.where(half > 0, half + root, alpha * _length(y - centre) / (root - jnp.minimum(half, 0.0)))
            return centre + (y - centre) / (1 + beta / (alpha + r)), None

        x = solve_triangular(self.scale_tril, z - self.mean, lower=True)
        return jax.lax.scan(back, x, (self.centres, self.log_alphas, self.raw_betas), reverse=True)[0]

    def config(self) -> dict[str, Any]:
        return {"dimension": self.dimension, "num_layers": self.log_alphas.shape[0]}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "RadialFlow":
        return Radial(int(config["num_layers"])).build(jax.random.key(0), _standard(int(config["dimension"])))


class Planar(Builder):
    """`PlanarFlow` of `num_layers` layers, each the identity at first: it begins at the given Gaussian exactly.

    Raises `InputError` for fewer than one layer.
    """

    num_layers: int = eqx.field(static=True, default=16)

    def __check_init__(self):
        _check_layers(self.num_layers)

    def build(self, key: PRNGKey, gaussian: Gaussian) -> PlanarFlow:
        key_weights, key_offsets = jax.random.split(key)
        real = gaussian.mean.dtype
        weights = jax.random.normal(key_weights, (self.num_layers, gaussian.dimension), real)
        # softplus(w . u) = 1, where the layer adds nothing
        directions = jnp.log(jnp.expm1(1.0)) * weights / jnp.sum(weights**2, axis=1, keepdims=True)
        offsets = jax.random.normal(key_offsets, (self.num_layers,), real)
        return PlanarFlow(gaussian.mean, gaussian.scale_tril, weights, directions.astype(real), offsets)


class Radial(Builder):
    """`RadialFlow` of `num_layers` layers about random centres, each the identity at first.

    Raises `InputError` for fewer than one layer.
    """

    num_layers: int = eqx.field(static=True, default=16)

    def __check_init__(self):
        _check_layers(self.num_layers)

    def build(self, key: PRNGKey, gaussian: Gaussian) -> RadialFlow:
        real = gaussian.mean.dtype
        centres = jax.random.normal(key, (self.num_layers, gaussian.dimension), real)
        betas = jnp.full(self.num_layers, jnp.log(jnp.expm1(1.0)), real)  # softplus of it is 1 = alpha
        return RadialFlow(gaussian.mean, gaussian.scale_tril, centres, jnp.zeros(self.num_layers, real), betas)


def _check_layers(num_layers: int) -> None:
    if num_layers < 1:
        raise InputError(f"num_layers must be at least 1, got {num_layers}")


def _standard(d: int) -> Gaussian:
    return Gaussian(jnp.zeros(d), jnp.eye(d))


def _place(q: PlanarFlow | RadialFlow, x: Float[Array, " d"], log_dets: Float[Array, " k"]) -> Pair:
    log_det = jnp.sum(jnp.log(jnp.abs(jnp.diagonal(q.scale_tril))))
    return q.mean + jnp.tril(q.scale_tril) @ x, jnp.sum(log_dets) + log_det


def _invertible(w: Any, u: Any, b: Any) -> tuple[Float[Array, " d"], Float[Array, " d"], Float[Array, ""]]:
    """w, v and b of a layer, with w . v > -1."""
    along = w @ u
    return w, u + (jax.nn.softplus(along) - 1 - along) * w / jnp.maximum(w @ w, 1e-12), b


def _height(y: Float[Array, ""], slope: Float[Array, ""], b: Float[Array, ""]) -> Float[Array, ""]:
    """The root a of a + slope tanh(a + b) = y, slope > -1: bisection, then one Newton step that carries derivatives."""
    fixed = jax.lax.stop_gradient((y, slope, b))

    def excess(a: Float[Array, ""], y: Any, slope: Any, b: Any) -> Float[Array, ""]:
        return a + slope * jnp.tanh(a + b) - y

    def halve(_: Any, bracket: Any) -> Any:
        low, high = bracket
        middle = 0.5 * (low + high)
        above = excess(middle, *fixed) > 0
        return jnp.where(above, low, middle), jnp.where(above, middle, high)

    reach = jnp.abs(fixed[1])
    low, high = jax.lax.fori_loop(0, BISECTIONS, halve, (fixed[0] - reach, fixed[0] + reach))
    a = jax.lax.stop_gradient(0.5 * (low + high))
    rise = jax.lax.stop_gradient(1 + slope * (1 - jnp.tanh(a + b) ** 2))
    return a - excess(a, y, slope, b) / rise


def _alpha_beta(log_alpha: Float[Array, ""], raw_beta: Float[Array, ""]) -> tuple[Float[Array, ""], Float[Array, ""]]:
    alpha = jnp.exp(log_alpha)
    return alpha, jax.nn.softplus(raw_beta) - alpha


def _length(x: Float[Array, " d"]) -> Float[Array, ""]:
    return jnp.sqrt(jnp.sum(x**2) + jnp.finfo(x.dtype).tiny)  # with a derivative at zero
