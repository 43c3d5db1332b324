"""Activation functions phi and their expectations under Gaussian pre-activations, from which all limits are built."""

import abc
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jensen.core import InputError, Scalar, require


class Activation(eqx.Module):
    """A function phi of one number, with expectations over (u, v) ~ N(0, [[a, c], [c, b]]) and z ~ N(0, K).

    All of them are differentiable in a, b, c and K, to any order, at c^2 = a b too where the derivative exists.
    """

    @abc.abstractmethod
    def __call__(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        """phi of each element."""

    @abc.abstractmethod
    def dual(self, a: Scalar, b: Scalar, c: Scalar) -> Scalar:
        """E[phi(u) phi(v)], for variances a and b and covariance c."""

    @abc.abstractmethod
    def second_moment(self, variance: Scalar) -> Scalar:
        """E[phi(z)^2]: the dual at a = b = c = K."""

    @abc.abstractmethod
    def fourth_moment(self, variance: Scalar) -> Scalar:
        """E[phi(z)^4]."""

    @abc.abstractmethod
    def slope_moment(self, variance: Scalar) -> Scalar:
        """E[phi'(z)^2]; infinite where phi jumps."""


class Linear(Activation):
    """phi(x) = x."""

    def __call__(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        return x

    def dual(self, a: Scalar, b: Scalar, c: Scalar) -> Scalar:
        return c

    def second_moment(self, variance: Scalar) -> Scalar:
        return variance

    def fourth_moment(self, variance: Scalar) -> Scalar:
        return 3 * variance**2

    def slope_moment(self, variance: Scalar) -> Scalar:
        return jnp.ones_like(variance)


class ReLU(Activation):
    """phi(x) = max(x, 0): the dual is half the arc-cosine kernel of order 1.

    E[phi(u) phi(v)] = sqrt(a b) (sqrt(1 - r^2) + r (pi - acos r)) / (2 pi), r = c / sqrt(a b).

    Source: Cho and Saul (2009), Kernel methods for deep learning.
    """

    def __call__(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        return jnp.maximum(x, 0.0)

    def dual(self, a: Scalar, b: Scalar, c: Scalar) -> Scalar:
        scale, r = _correlation(a, b, c)
        return 0.5 * scale * _arc_cosine_1(r)

    def second_moment(self, variance: Scalar) -> Scalar:
        return 0.5 * variance

    def fourth_moment(self, variance: Scalar) -> Scalar:
        return 1.5 * variance**2

    def slope_moment(self, variance: Scalar) -> Scalar:
        return jnp.full_like(variance, 0.5)


class Heaviside(Activation):
    """phi(x) = 1 for x > 0, else 0: the dual is half the arc-cosine kernel of order 0, (1 - acos(r) / pi) / 2.

    Source: Cho and Saul (2009), Kernel methods for deep learning.
    """

    def __call__(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        return (x > 0).astype(x.dtype)

    def dual(self, a: Scalar, b: Scalar, c: Scalar) -> Scalar:
        return 0.5 * _arc_cosine_0(_correlation(a, b, c)[1])

    def second_moment(self, variance: Scalar) -> Scalar:
        return jnp.full_like(variance, 0.5)

    def fourth_moment(self, variance: Scalar) -> Scalar:
        return jnp.full_like(variance, 0.5)

    def slope_moment(self, variance: Scalar) -> Scalar:
        return jnp.full_like(variance, jnp.inf)


class Erf(Activation):
    """phi(x) = erf(x): E[phi(u) phi(v)] = (2 / pi) asin(2 c / sqrt((1 + 2 a)(1 + 2 b))).

    `nodes`: of the quadrature for the fourth moment, the only one without a closed form.

    Source: Williams (1997), Computing with infinite networks.
    """

    nodes: int = eqx.field(static=True, default=64)

    def __call__(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        return jax.scipy.special.erf(x)

    def dual(self, a: Scalar, b: Scalar, c: Scalar) -> Scalar:
        return (2 / math.pi) * jnp.arcsin(2 * c / jnp.sqrt((1 + 2 * a) * (1 + 2 * b)))

    def second_moment(self, variance: Scalar) -> Scalar:
        return self.dual(variance, variance, variance)

    def fourth_moment(self, variance: Scalar) -> Scalar:
        return gaussian_mean(lambda x: self(x) ** 4, self.nodes, variance)

    def slope_moment(self, variance: Scalar) -> Scalar:
        return (4 / math.pi) / jnp.sqrt(1 + 4 * variance)


class Smooth(Activation):
    """phi(x) = fn(x), any smooth elementwise function, by quadrature: `Smooth(jnp.tanh)`.

    `nodes` points for one variable, their square for the dual. Errors fall exponentially in `nodes`, the slower the
    larger the variance: for E[tanh^2] and 64 nodes 5e-14 at variance 1, 4e-7 at 4; for 128 nodes 2e-9 at 10. Not for
    functions with kinks or jumps. `fn` is static: pass a named function; each fresh lambda compiles anew.

    Raises `InputError` for fewer than 32 nodes.
    """

    fn: Callable[[Any], Any] = eqx.field(static=True)
    nodes: int = eqx.field(static=True, default=64)

    def __check_init__(self):
        require(self.nodes >= 32, f"Quadrature wants 32 nodes or more, got {self.nodes}", InputError)

    def __call__(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        return self.fn(x)

    def dual(self, a: Scalar, b: Scalar, c: Scalar) -> Scalar:
        return gaussian_product(self.fn, self.fn, self.nodes, a, b, c)

    def second_moment(self, variance: Scalar) -> Scalar:
        return gaussian_mean(lambda x: self.fn(x) ** 2, self.nodes, variance)

    def fourth_moment(self, variance: Scalar) -> Scalar:
        return gaussian_mean(lambda x: self.fn(x) ** 4, self.nodes, variance)

    def slope_moment(self, variance: Scalar) -> Scalar:
        slope = _slope(self.fn)
        return gaussian_mean(lambda x: slope(x) ** 2, self.nodes, variance)


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def gaussian_mean(f: Callable[[Any], Any], nodes: int, variance: Scalar) -> Scalar:
    """E[f(z)], z ~ N(0, K), by the trapezoid rule; its derivative in K is E[f''(z)] / 2, at K = 0 too."""
    x, w = _normal_rule(nodes, variance.dtype)
    return f(jnp.sqrt(jnp.maximum(variance, 0.0)) * x) @ w


@gaussian_mean.defjvp
def _(f: Any, nodes: int, primals: Any, tangents: Any) -> Any:
    (variance,), (moved,) = primals, tangents
    curvature = gaussian_mean(_slope(_slope(f)), nodes, variance)
    return gaussian_mean(f, nodes, variance), 0.5 * curvature * moved


@partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def gaussian_product(
    f: Callable[[Any], Any], g: Callable[[Any], Any], nodes: int, a: Scalar, b: Scalar, c: Scalar
) -> Scalar:
    """E[f(u) g(v)] by quadrature; derivatives E[f'' g] / 2 in a, E[f g''] / 2 in b, E[f' g'] in c (Price 1958).

    So they exist where u and v are the same variable, at which differentiating the quadrature itself gives NaN.
    """
    x, w = _normal_rule(nodes, a.dtype)
    _, r = _correlation(a, b, c)
    # u and v as a rotation of two independent variables, the same for both: E[f g] does not depend on their order
    angle = 0.5 * jnp.arcsin(jnp.clip(r, -1.0, 1.0))
    near, far = jnp.cos(angle) * x[:, None], jnp.sin(angle) * x
    u = jnp.sqrt(jnp.maximum(a, 0.0)) * (near + far)
    v = jnp.sqrt(jnp.maximum(b, 0.0)) * (near + far).T
    return w @ (f(u) * g(v)) @ w


@gaussian_product.defjvp
def _(f: Any, g: Any, nodes: int, primals: Any, tangents: Any) -> Any:
    def mean(f: Any, g: Any) -> Any:
        return gaussian_product(f, g, nodes, *primals)

    da, db, dc = tangents
    moved = 0.5 * mean(_slope(_slope(f)), g) * da + 0.5 * mean(f, _slope(_slope(g))) * db
    return mean(f, g), moved + mean(_slope(f), _slope(g)) * dc


def _slope(f: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """f' of an elementwise function."""
    return lambda x: jax.jvp(f, (x,), (jnp.ones_like(x),))[1]


def _normal_rule(nodes: int, dtype: Any) -> tuple[Array, Array]:
    """Nodes and weights of the trapezoid rule for the standard normal distribution, cut where its mass is below 1e-16.

    For analytic functions with poles near the real line, as tanh has, it gains digits faster than Gauss-Hermite nodes.
    """
    x = np.linspace(-8.5, 8.5, nodes)
    w = np.exp(-0.5 * x**2)
    return jnp.asarray(x, dtype), jnp.asarray(w / w.sum(), dtype)


def _correlation(a: Scalar, b: Scalar, c: Scalar) -> tuple[Scalar, Scalar]:
    """(sqrt(a b), c / sqrt(a b)), the correlation 0 where a variance is."""
    positive = a * b > 0
    scale = jnp.sqrt(jnp.where(positive, a * b, 1.0))
    return jnp.where(positive, scale, 0.0), jnp.where(positive, c / scale, 0.0)


@jax.custom_jvp
def _arc_cosine_1(r: Scalar) -> Scalar:
    # clipped here, where the derivative does not see it: rounding may leave a correlation beyond 1
    r = jnp.clip(r, -1.0, 1.0)
    return (jnp.sqrt(1 - r**2) + r * (math.pi - jnp.arccos(r))) / math.pi


@_arc_cosine_1.defjvp
def _(primals: Any, tangents: Any) -> Any:
    # by parts the derivative is the kernel of order 0, finite at r = 1 where that of the root is not
    return _arc_cosine_1(*primals), _arc_cosine_0(*primals) * tangents[0]


@jax.custom_jvp
def _arc_cosine_0(r: Scalar) -> Scalar:
    return 1 - jnp.arccos(jnp.clip(r, -1.0, 1.0)) / math.pi


@_arc_cosine_0.defjvp
def _(primals: Any, tangents: Any) -> Any:
    # bounded, so that a correlation that is 1 whatever the parameters are has derivative 0 and not 0 / 0
    spread = jnp.maximum(1 - primals[0] ** 2, jnp.finfo(primals[0].dtype).eps)
    return _arc_cosine_0(*primals), tangents[0] / (math.pi * jnp.sqrt(spread))
