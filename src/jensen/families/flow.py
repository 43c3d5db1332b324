"""Normalizing flows: the only file that knows flowjax, whose scalar bijections its layers are made of."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float, Int

from jensen.core import Compiled, InputError, PRNGKey
from jensen.families._builders import Builder
from jensen.families._conditioner import Network, autoregressive_masks, init_network
from jensen.families._path_score import through_autoregression, through_coupling
from jensen.families.bijective import Bijective, log_standard_normal
from jensen.families.gaussian import Gaussian

REACH = 5.0  # splines act on [-REACH, REACH]; beyond, a layer is affine
# bounds on what a network may ask of a scalar map: composed, unbounded ones lose all digits
MAX_SHIFT, MAX_LOG_SCALE, MAX_LOGIT = 20.0, 2.0, 2.0

Pair = tuple[Float[Array, " d"], Float[Array, ""]]
Images = tuple[Float[Array, " n"], Float[Array, " n"]]
Scored = tuple[Float[Array, " d"], Float[Array, ""], Float[Array, " d"]]


@dataclasses.dataclass(frozen=True)
class Affine:
    """y = x exp(a) + b, |a| < 2 and |b| < 20: two numbers a coordinate."""

    @property
    def bounds(self) -> np.ndarray:
        """Of the absolute value of each parameter."""
        return np.array([MAX_SHIFT, MAX_LOG_SCALE])

    def build(self) -> Any:
        """The flowjax bijection whose parameters are all zero at the identity."""
        from flowjax.bijections import Affine as FlowjaxAffine
        from paramax import Parameterize

        scale = Parameterize(jnp.exp, jnp.zeros((), jnp.result_type(float)))
        return eqx.tree_at(lambda a: a.scale, FlowjaxAffine(), scale)


@dataclasses.dataclass(frozen=True)
class Spline:
    """A monotone rational-quadratic spline of `knots` inner knots on [-5, 5], then `Affine`. Durkan et al. (2019)."""

    knots: int = 8

    @property
    def bounds(self) -> np.ndarray:
        """Of the absolute value of each parameter."""
        return np.concatenate([np.full(3 * self.knots + 4, MAX_LOGIT), Affine().bounds])

    def build(self) -> Any:
        """The flowjax bijection whose parameters are all zero at the identity."""
        from flowjax.bijections import Chain, RationalQuadraticSpline

        return Chain([RationalQuadraticSpline(knots=self.knots, interval=REACH), Affine().build()])


def _constructor(scalar: Affine | Spline) -> Callable[[Float[Array, " p"]], Any]:
    # built inside each trace: flowjax's closures never become part of a state, where each would be traced anew
    from flowjax.utils import get_ravelled_pytree_constructor

    return get_ravelled_pytree_constructor(scalar.build(), filter_spec=eqx.is_inexact_array)[0]


def _parameters(scalar: Affine | Spline, raw: Float[Array, " m"]) -> Float[Array, "n p"]:
    """Bounded parameters of the scalar maps from the raw output of a network."""
    bounds = jnp.asarray(scalar.bounds, raw.dtype)
    return bounds * jnp.tanh(raw.reshape(-1, len(bounds)) / bounds)


def _each(scalar: Affine | Spline, parameters: Float[Array, "n p"], x: Float[Array, " n"]) -> Images:
    constructor = _constructor(scalar)
    return jax.vmap(lambda p, x: constructor(p).transform_and_log_det(x))(parameters, x)


def _forward(scalar: Affine | Spline, parameters: Float[Array, "n p"], x: Float[Array, " n"]) -> Pair:
    y, log_slope = _each(scalar, parameters, x)
    return y, jnp.sum(log_slope)


def _backward(scalar: Affine | Spline, parameters: Float[Array, "n p"], y: Float[Array, " n"]) -> Float[Array, " n"]:
    constructor = _constructor(scalar)
    return jax.vmap(lambda p, y: constructor(p).inverse(y))(parameters, y)


@dataclasses.dataclass(frozen=True)
class Coupling:
    """Half of the coordinates set the map of the other half; both directions cost one pass. Dinh et al. (2017)."""

    scalar: Affine | Spline = Spline()
    width: int = 32
    depth: int = 2

    def sizes(self, d: int) -> tuple[int, ...]:
        return (d // 2, *[self.width] * self.depth, (d - d // 2) * len(self.scalar.bounds))

    def transform(self, network: Network, x: Float[Array, " d"]) -> Pair:
        n = x.shape[0] // 2
        y, log_det = _forward(self.scalar, _parameters(self.scalar, network(x[:n], None)), x[n:])
        return jnp.concatenate([x[:n], y]), log_det

    def transform_and_score(self, network: Network, x: Float[Array, " d"], g: Float[Array, " d"]) -> Scored:
        """T(x), log |det J|, and grad log q of T(x) where g is that of x."""
        n = x.shape[0] // 2
        y, log_slope, g_passive, g_active = through_coupling(
            lambda a: _parameters(self.scalar, network(a, None)),
            partial(_each, self.scalar),
            x[:n],
            x[n:],
            g[:n],
            g[n:],
        )
        return jnp.concatenate([x[:n], y]), jnp.sum(log_slope), jnp.concatenate([g_passive, g_active])

    def inverse(self, network: Network, y: Float[Array, " d"]) -> Float[Array, " d"]:
        n = y.shape[0] // 2
        x = _backward(self.scalar, _parameters(self.scalar, network(y[:n], None)), y[n:])
        return jnp.concatenate([y[:n], x])

    def order(self, key: PRNGKey, d: int, num: int) -> Int[Array, "layers d"]:
        """A random order, then its reverse, and so on: each pair of layers maps every coordinate."""
        first = jax.vmap(lambda k: jax.random.permutation(k, d))(jax.random.split(key, (num + 1) // 2))
        return jnp.stack([first, first[:, ::-1]], axis=1).reshape(-1, d)[:num].astype(jnp.int32)


@dataclasses.dataclass(frozen=True)
class Autoregressive:
    """Coordinate i is mapped as noise 1..i-1 says: more flexible a layer; the inverse costs d passes.

    Sampling and the density of own draws cost one pass. Source: Kingma et al. (2016); Papamakarios et al. (2017).
    """

    scalar: Affine | Spline = Spline()
    width: int = 32
    depth: int = 2

    def sizes(self, d: int) -> tuple[int, ...]:
        return (d, *[max(self.width, d)] * self.depth, d * len(self.scalar.bounds))

    def parameters(self, network: Network, x: Float[Array, " d"]) -> Float[Array, "d p"]:
        """Of the scalar map of each coordinate."""
        d, p = x.shape[0], len(self.scalar.bounds)
        return _parameters(self.scalar, network(x, autoregressive_masks(d, max(self.width, d), self.depth, p)))

    def transform(self, network: Network, x: Float[Array, " d"]) -> Pair:
        return _forward(self.scalar, self.parameters(network, x), x)

    def transform_and_score(self, network: Network, x: Float[Array, " d"], g: Float[Array, " d"]) -> Scored:
        """T(x), log |det J|, and grad log q of T(x) where g is that of x."""
        y, log_slope, g = through_autoregression(partial(self.parameters, network), partial(_each, self.scalar), x, g)
        return y, jnp.sum(log_slope), g

    def inverse(self, network: Network, y: Float[Array, " d"]) -> Float[Array, " d"]:
        def fill(i: Int[Array, ""], x: Float[Array, " d"]) -> Float[Array, " d"]:
            return x.at[i].set(_backward(self.scalar, self.parameters(network, x), y)[i])

        return jax.lax.fori_loop(0, y.shape[0], fill, jnp.zeros_like(y))

    def order(self, key: PRNGKey, d: int, num: int) -> Int[Array, "layers d"]:
        """The coordinates in turn from first to last and from last to first."""
        return jnp.stack([jnp.arange(d)[:: 1 if i % 2 == 0 else -1] for i in range(num)]).astype(jnp.int32)


class Flow(Bijective):
    """z = m + L (b + A T_n(... T_1(u))), u ~ N(0, I): layers in the coordinates of a Gaussian, at which it starts.

    `mean`, `scale_tril`: m and L of that Gaussian, not trained. `shift`, `tril`: b, and A by its strict lower part and
    the logarithm of its diagonal, trained. `network`: the layers' networks. `order`: the order of coordinates in each
    layer. `layer`: their kind and sizes. T_i is the identity as long as the last weights are zero.

    A draw and its density cost one pass; the density elsewhere one inverse pass, which for `Autoregressive` layers is
    d passes.

    Source: Rezende and Mohamed (2015).
    """

    mean: Float[Array, " d"]
    scale_tril: Float[Array, "d d"]
    shift: Float[Array, " d"]
    tril: Float[Array, "d d"]
    network: Network
    order: Int[Array, "layers d"]
    layer: Coupling | Autoregressive = eqx.field(static=True)

    @property
    def dimension(self) -> int:
        return self.mean.shape[0]

    def partition(self) -> tuple["Flow", "Flow"]:
        """Whitening and orders are not trained."""
        wanted = jax.tree.map(eqx.is_inexact_array, self)
        wanted = eqx.tree_at(lambda q: (q.mean, q.scale_tril), wanted, (False, False))
        return eqx.partition(self, wanted)

    def _affine(self) -> Float[Array, "d d"]:
        return jnp.tril(self.tril, -1) + jnp.diag(jnp.exp(jnp.diagonal(self.tril)))

    def transform(self, u: Float[Array, " d"]) -> Pair:
        def through(carry: Pair, part: tuple[Network, Int[Array, " d"]]) -> tuple[Pair, None]:
            x, total = carry
            network, order = part
            y, log_det = self.layer.transform(network, x[order])
            return (jnp.zeros_like(x).at[order].set(y), total + log_det), None

        u = u.astype(self.mean.dtype)
        (y, log_det), _ = jax.lax.scan(through, (u, jnp.zeros((), u.dtype)), (self.network, self.order))
        return self._last(y, log_det)

    def _last(self, y: Float[Array, " d"], log_det: Float[Array, ""]) -> Pair:
        """Through the affine maps behind the layers."""
        z = self.mean + jnp.tril(self.scale_tril) @ (self.shift + self._affine() @ y)
        scales = jnp.sum(jnp.log(jnp.abs(jnp.diagonal(self.scale_tril)))) + jnp.trace(self.tril)
        return z, log_det + scales

    def from_noise_and_score(self, eps: Float[Array, " d"]) -> Scored:
        def through(carry: Scored, part: tuple[Network, Int[Array, " d"]]) -> tuple[Scored, None]:
            x, total, g = carry
            network, order = part
            y, log_det, g = self.layer.transform_and_score(network, x[order], g[order])
            place = jnp.zeros_like(x).at[order].set
            return (place(y), total + log_det, place(g)), None

        u = eps.astype(self.mean.dtype)
        start = (u, jnp.zeros((), u.dtype), -u)
        (y, log_det, g), _ = jax.lax.scan(through, start, (self.network, self.order))
        z, log_det = self._last(y, log_det)
        white = solve_triangular(self._affine(), g, lower=True, trans=1)
        return z, log_standard_normal(u) - log_det, solve_triangular(self.scale_tril, white, lower=True, trans=1)

    def inverse(self, z: Float[Array, " d"]) -> Float[Array, " d"]:
        def back(y: Float[Array, " d"], part: tuple[Network, Int[Array, " d"]]) -> tuple[Float[Array, " d"], None]:
            network, order = part
            x = self.layer.inverse(network, y[order])
            return jnp.zeros_like(y).at[order].set(x), None

        white = solve_triangular(self.scale_tril, z - self.mean, lower=True)
        y = solve_triangular(self._affine(), white - self.shift, lower=True)
        return jax.lax.scan(back, y, (self.network, self.order), reverse=True)[0]

    def config(self) -> dict[str, Any]:
        layer = {"class": type(self.layer).__name__, "width": self.layer.width, "depth": self.layer.depth}
        scalar = {"class": type(self.layer.scalar).__name__} | dataclasses.asdict(self.layer.scalar)
        num_layers = self.order.shape[0]
        return {"dimension": self.dimension, "num_layers": num_layers, "layer": layer, "scalar": scalar}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Flow":
        layers, scalars = {c.__name__: c for c in (Coupling, Autoregressive)}, {c.__name__: c for c in (Affine, Spline)}
        parts = []
        for known, part in ((scalars, dict(config["scalar"])), (layers, dict(config["layer"]))):
            name = part.pop("class")
            if name not in known:
                raise InputError(f"Unknown part of a flow {name!r}: one of {', '.join(known)}")
            sizes = {k: int(v) for k, v in part.items()}
            parts.append(known[name](*parts, **sizes))
        return _build(
            cls, jax.random.key(0), from_standard(int(config["dimension"])), parts[1], int(config["num_layers"])
        )


def from_standard(d: int) -> Gaussian:
    """N(0, I_d)."""
    return Gaussian(jnp.zeros(d), jnp.eye(d))


@Compiled
def _build(
    cls: type[Flow], key: PRNGKey, gaussian: Gaussian, layer: Coupling | Autoregressive, num_layers: int
) -> Flow:
    d = gaussian.dimension
    key_net, key_order = jax.random.split(key)
    network = init_network(key_net, layer.sizes(d), num_layers)
    order = layer.order(key_order, d, num_layers)
    zeros = jnp.zeros_like(gaussian.scale_tril)
    return cls(gaussian.mean, gaussian.scale_tril, jnp.zeros_like(gaussian.mean), zeros, network, order, layer)


class FlowBuilder(Builder):
    """A `Flow` of `num_layers` layers that starts as the given Gaussian exactly (a Laplace fit, say)."""

    layer: Coupling | Autoregressive = eqx.field(static=True, default=Coupling())
    num_layers: int = eqx.field(static=True, default=6)

    def __check_init__(self):
        if self.num_layers < 1:
            raise InputError(f"num_layers must be at least 1, got {self.num_layers}")

    def build(self, key: PRNGKey, gaussian: Gaussian) -> Flow:
        return _build(Flow, key, gaussian, self.layer, self.num_layers)
