"""Covariance functions of networks of infinite width: Gaussian-process limits of random networks, as tinygp kernels."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from tinygp.kernels import Kernel

from jensen.core import InputError, Scalar, require, scalar_field
from jensen.gp.infinite_width.activations import Activation, ReLU

Triple = tuple[Scalar, Scalar, Scalar]  # variances of two inputs and their covariance


class NNGP(Kernel):
    """The limit of a fully connected network of `depth` hidden layers, as all widths grow.

    K_1 = b + w x.x' / d, then K_{l+1} = b + w E_{(u, v) ~ N(0, K_l)}[phi(u) phi(v)], `depth` times. The variance of
    weights is w / n for a layer of n inputs, that of biases b. The same kernel is the limit for any pseudo-iid weights
    (see `ensembles`). O(depth) duals a pair of inputs.

    Raises `InputError` for a negative depth.

    Source: Neal (1996); Lee et al. (2018); Matthews et al. (2018).
    """

    activation: Activation = ReLU()
    depth: int = eqx.field(static=True, default=1)
    weight_variance: Scalar = scalar_field(2.0)
    bias_variance: Scalar = scalar_field(0.1)

    def __check_init__(self):
        require(self.depth >= 0, f"The depth of a network must be 0 or more, got {self.depth}", InputError)

    def evaluate(self, X1: Any, X2: Any) -> Scalar:
        w, b = self.weight_variance, self.bias_variance
        first = tuple(b + w * k for k in mean_products(X1, X2))
        return repeat(lambda k: tuple(b + w * e for e in expectations(self.activation, k)), first, self.depth)[2]

    def evaluate_diag(self, X: Any) -> Scalar:
        w, b = self.weight_variance, self.bias_variance
        first = b + w * mean_products(X, X)[0]
        return repeat(lambda k: b + w * self.activation.second_moment(k), first, self.depth)


class ResidualNNGP(Kernel):
    """The limit of a residual network Y_l = Y_{l-1} + L^{-1/2} W_l phi(Y_{l-1}), Y_0 = W_in x, as its width grows.

    K_0 = x.x' / d and K_l = K_{l-1} + (w / L) E_{N(0, K_{l-1})}[phi(u) phi(v)] for l = 1..L, L the `depth`. For ReLU
    the variance grows by (1 + w / (2 L))^L: it stays bounded in L, as with no other scaling of the branches.

    Raises `InputError` for a depth below 1.

    Source: Hayou and Yang (2023), Width and depth limits commute in residual networks.
    """

    activation: Activation = ReLU()
    depth: int = eqx.field(static=True, default=10)
    weight_variance: Scalar = scalar_field(1.0)

    def __check_init__(self):
        require(self.depth >= 1, f"A residual network wants a depth of 1 or more, got {self.depth}", InputError)

    def evaluate(self, X1: Any, X2: Any) -> Scalar:
        def block(k: Triple) -> Triple:
            return _added(k, self.weight_variance / self.depth, expectations(self.activation, k))

        return repeat(block, mean_products(X1, X2), self.depth)[2]

    def evaluate_diag(self, X: Any) -> Scalar:
        rate = self.weight_variance / self.depth
        first = mean_products(X, X)[0]
        return repeat(lambda k: k + rate * self.activation.second_moment(k), first, self.depth)


class ResidualDepthLimit(Kernel):
    """The limit of `ResidualNNGP` for L -> infinity: dK/dt = w E_{N(0, K)}[phi(u) phi(v)], t from 0 to 1.

    It starts at K(0) = x.x' / d. Width and depth may go to infinity in any order or together: the kernel is the same,
    and that of a finite depth L differs from it by O(1 / L). For ReLU, K(x, x) = exp(w / 2) x.x / d. The equation is
    solved by `steps` Runge-Kutta steps of order 4: 32 leave an error of about 1e-9 at w = 1.

    Raises `InputError` for fewer than one step.

    Source: Hayou and Yang (2023), Width and depth limits commute in residual networks.
    """

    activation: Activation = ReLU()
    steps: int = eqx.field(static=True, default=32)
    weight_variance: Scalar = scalar_field(1.0)

    def __check_init__(self):
        require(self.steps >= 1, f"The number of steps must be 1 or more, got {self.steps}", InputError)

    def evaluate(self, X1: Any, X2: Any) -> Scalar:
        w = self.weight_variance
        rate = lambda k: tuple(w * e for e in expectations(self.activation, k))  # noqa: E731
        return repeat(lambda k: runge_kutta(rate, k, 1 / self.steps), mean_products(X1, X2), self.steps)[2]

    def evaluate_diag(self, X: Any) -> Scalar:
        rate = lambda k: self.weight_variance * self.activation.second_moment(k)  # noqa: E731
        return repeat(lambda k: runge_kutta(rate, k, 1 / self.steps), mean_products(X, X)[0], self.steps)


def mean_products(x: Any, y: Any) -> Triple:
    """(x.x, y.y, x.y) / d."""
    x, y = jnp.atleast_1d(x), jnp.atleast_1d(y)
    return jnp.mean(x * x), jnp.mean(y * y), jnp.mean(x * y)


def expectations(activation: Activation, k: Triple) -> Triple:
    """(E[phi(u)^2], E[phi(v)^2], E[phi(u) phi(v)])."""
    a, b, _ = k
    return activation.second_moment(a), activation.second_moment(b), activation.dual(*k)


def gram_of_gram(activation: Activation, gram: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """The matrix of E_{N(0, G)}[phi(f_i) phi(f_j)]: one layer as a function of the Gram matrix below it."""
    variances = jnp.diagonal(gram)
    off = jax.vmap(lambda a, row: jax.vmap(lambda b, c: activation.dual(a, b, c))(variances, row))(variances, gram)
    # the diagonal from one-dimensional moments: exact, and free of the square root at correlation 1
    here = jnp.eye(gram.shape[0], dtype=bool)
    return jnp.where(here, jax.vmap(activation.second_moment)(variances), off)


def repeat(layer: Any, start: Any, depth: int) -> Any:
    """layer(layer(... start)), `depth` times, compiled once."""
    return jax.lax.scan(lambda k, _: (layer(k), None), start, None, length=depth)[0]


def runge_kutta(rate: Any, k: Any, step: float) -> Any:
    """The classical step of order 4 for dk/dt = rate(k), k any tree of arrays."""

    def moved(slope: Any, by: float) -> Any:
        return jax.tree.map(lambda a, s: a + by * s, k, slope)

    first = rate(k)
    second = rate(moved(first, step / 2))
    third = rate(moved(second, step / 2))
    last = rate(moved(third, step))
    return jax.tree.map(lambda a, s, t, u, v: a + step / 6 * (s + 2 * t + 2 * u + v), k, first, second, third, last)


def _added(k: Triple, rate: Scalar, grown: Triple) -> Triple:
    return k[0] + rate * grown[0], k[1] + rate * grown[1], k[2] + rate * grown[2]
