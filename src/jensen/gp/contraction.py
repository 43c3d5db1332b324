"""Regression of a number on images of several channels: a multilinear Gaussian process on contracted tensors."""

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jensen._numerics.total_variation import soft_threshold, tv_prox
from jensen.core import Compiled, InputError, PRNGKey, Scalar, require
from jensen.core.compiled import PASSES
from jensen.gp._weight_space import WeightSpace, weight_space

TRIES = 30  # halvings of a step before a block is left as it is


class Factors(eqx.Module):
    """The unknowns: contractions A (h, H) and B (w, W), and V_1 (r1, h), V_2 (r2, w), V_3 (r3, C), log noise variance.

    The scale of the V_j has no meaning: U_j = sqrt(r_j) V_j / |V_j|, so that the scale of f lives in B alone.
    """

    rows: Float[Array, "h height"]
    columns: Float[Array, "w width"]
    sides: tuple[Array, Array, Array]
    log_noise: Float[Array, ""]

    def features(self, x: Float[Array, "n height width channels"]) -> Float[Array, "n r"]:
        """(U_3 x U_2 x U_1) vec(X x_1 A x_2 B) for each image: r1 r2 r3 numbers."""
        return _features(self, _channels_first(x))

    def penalty(self) -> Float[Array, ""]:
        """|B|_1 |D A|_1 + |A|_1 |D B|_1, D the first difference along rows.

        The anisotropic total variation of all feature maps A_i^T B_j together.
        """
        a, b = self.rows, self.columns
        return _l1(b) * _l1(jnp.diff(a)) + _l1(a) * _l1(jnp.diff(b))


class TensorRegression(eqx.Module):
    """y = f(X) + N(0, noise), f ~ GP(0, vec(Z)^T (K_3 x K_2 x K_1) vec(Z')), Z = X x_1 A x_2 B, K_j = U_j^T U_j.

    The contractions A and B, the factors U_j and the noise make
    [log det(F F^T + noise I) + y^T (F F^T + noise I)^-1 y] / 2 + lambda (|B|_1 |D A|_1 + |A|_1 |D B|_1) small, F the
    features (n, r1 r2 r3): sparse, piecewise constant windows on the images. Given them the posterior is exact
    (`WeightSpace`). The objective has local minima, scales and signs are not identified.

    `factors`, `regression`, `level` (the mean of y), `objective`: its value after each sweep, falling.
    Made by `tensor_regression`.

    Source: Sun, Manchester, Jin, Liu and Chen (2023), Tensor Gaussian process with contraction for multi-channel
    imaging analysis.
    """

    factors: Factors
    regression: WeightSpace
    level: Float[Array, ""]
    objective: Float[Array, " sweeps"]

    @partial(Compiled, small=PASSES)
    def mean(self, x: Float[Array, "k height width channels"]) -> Float[Array, " k"]:
        """Posterior mean at new images."""
        return self.level + self.regression.mean(self.factors.features(x))

    @partial(Compiled, small=PASSES)
    def variance(self, x: Float[Array, "k height width channels"]) -> Float[Array, " k"]:
        """Posterior variance of f at new images; add `regression.noise` for that of y."""
        return self.regression.variance(self.factors.features(x))


def tensor_regression(
    key: PRNGKey, x: Any, y: Any, *, contracted: tuple[int, int], penalty: Any = 1.0, sweeps: int = 100, starts: int = 3
) -> TensorRegression:
    """Fit by proximal gradient steps on A, on B, and gradient steps on the U_j and the noise in turn.

    The step on A is one on the evidence, then the proximal map of the penalty (total variation, then soft threshold, a
    row each), its length halved until the objective does not rise: it falls with every sweep. |A|_F is then set to 1
    and the scale given to B, which changes nothing. The start of the lowest objective is kept.

    Args:
        key: for the starting points.
        x: images (n, H, W, C).
        y: a number for each, (n,).
        contracted: (h, w), the size of Z; the U_j are square.
        penalty: lambda, 0 or more.
        sweeps: rounds over the blocks.
        starts: starting points, run side by side.

    Raises:
        InputError: for other shapes, values that are not finite, sizes that do not fit, or a negative penalty.
    """
    x, y = jnp.asarray(x, jnp.result_type(float)), jnp.asarray(y, jnp.result_type(float))
    if x.ndim != 4 or y.shape != (len(x),):
        raise InputError(f"x must be images (n, H, W, C) and y (n,), got {x.shape} and {y.shape}")
    finite = bool(np.all(np.isfinite(x))) and bool(np.all(np.isfinite(y)))
    require(finite, "x or y has a value that is NaN or infinite")
    fits = 1 <= contracted[0] <= x.shape[1] and 1 <= contracted[1] <= x.shape[2]
    require(fits, f"contracted must be between (1, 1) and the size {x.shape[1:3]} of the images, got {contracted}")
    require(float(penalty) >= 0, f"penalty must be 0 or more, got {penalty}")
    require(sweeps >= 1 and starts >= 1, "sweeps and starts must be 1 or more")
    images, level = _channels_first(x), jnp.mean(y)
    require(bool(jnp.var(y) > 0), "y is constant: there is nothing to regress on the images")
    begin = _begins(key, x, y - level, contracted, starts)
    weight = jnp.asarray(penalty, x.dtype)
    ends, objectives = _sweeps(begin, images, y - level, weight, jnp.zeros(sweeps, x.dtype))
    best = jnp.argmin(objectives[:, -1])
    factors: Factors = jax.tree.map(lambda leaf: leaf[best], ends)
    return TensorRegression(factors, _conditioned(factors, images, y - level), level, objectives[best])


@partial(Compiled, small=PASSES)
def _begins(key: PRNGKey, x: Array, y: Array, contracted: tuple[int, int], starts: int) -> Factors:
    return jax.vmap(lambda k: _begin(k, x, y, contracted))(jax.random.split(key, starts))


def _begin(key: PRNGKey, x: Array, y: Array, contracted: tuple[int, int]) -> Factors:
    """Windows side by side, a little perturbed, and random sides, the scale such that f has half of the variance of y.

    Rough windows would be shrunk to nothing by the penalty before they have met the data.
    """
    first, second, *rest = jax.random.split(key, 5)
    a, b = _windows(first, contracted[0], x.shape[1]), _windows(second, contracted[1], x.shape[2])
    sides = [jax.random.normal(k, (n, n), x.dtype) for k, n in zip(rest, (*contracted, x.shape[3]), strict=True)]
    a = a / jnp.sqrt(jnp.sum(a**2))
    noise = 0.5 * jnp.var(y)
    factors = Factors(a, b, (sides[0], sides[1], sides[2]), jnp.log(noise))
    size = jnp.mean(jnp.sum(factors.features(x) ** 2, axis=1))
    return eqx.tree_at(lambda f: f.columns, factors, b * jnp.sqrt(noise / size))


def _windows(key: PRNGKey, number: int, length: int) -> Array:
    """`number` windows of equal width that cover a line, with weights near 1."""
    here = jnp.arange(length) * number // length == jnp.arange(number)[:, None]
    return here * (1 + 0.1 * jax.random.normal(key, (number, 1)))


def _channels_first(x: Array) -> Array:
    return jnp.moveaxis(x, 3, 1)


def _features(factors: Factors, x: Array) -> Array:
    """Of images (n, C, H, W): along the last axis first, where the images are read as they lie in memory."""
    u1, u2, u3 = (jnp.sqrt(len(v)) * v / jnp.sqrt(jnp.sum(v**2)) for v in factors.sides)
    left, right = u1 @ factors.rows, u2 @ factors.columns
    narrow = jnp.einsum("ncij,bj->ncib", x, right)
    return jnp.einsum("ncib,ai,dc->nabd", narrow, left, u3, optimize=True).reshape(len(x), -1)


def _regression(factors: Factors, x: Array, y: Array) -> WeightSpace:
    features = _features(factors, x)
    return weight_space(features, y, jnp.ones(features.shape[1], x.dtype), jnp.exp(factors.log_noise))


_conditioned = Compiled(_regression, small=PASSES)


def _l1(a: Array) -> Array:
    return jnp.sum(jnp.abs(a))


@Compiled
def _sweeps(begin: Factors, x: Array, y: Array, penalty: Scalar, counter: Array) -> tuple[Factors, Array]:
    def loss(factors: Factors) -> Array:
        return _regression(factors, x, y).negative_log_evidence

    def objective(factors: Factors) -> Array:
        return loss(factors) + penalty * factors.penalty()

    def windows(a: Array, other: Array, length: Array) -> Array:
        smooth = jax.vmap(lambda row: tv_prox(row, length * penalty * _l1(other)))(a)
        return soft_threshold(smooth, length * penalty * _l1(jnp.diff(other)))

    def on_rows(f: Factors, g: Factors, length: Array) -> Factors:
        return eqx.tree_at(lambda t: t.rows, f, windows(f.rows - length * g.rows, f.columns, length))

    def on_columns(f: Factors, g: Factors, length: Array) -> Factors:
        return eqx.tree_at(lambda t: t.columns, f, windows(f.columns - length * g.columns, f.rows, length))

    def on_rest(f: Factors, g: Factors, length: Array) -> Factors:
        sides = jax.tree.map(lambda v, dv: v - length * dv, f.sides, g.sides)
        return Factors(f.rows, f.columns, sides, f.log_noise - length * g.log_noise)

    def block(f: Factors, length: Array, move: Any) -> tuple[Factors, Array]:
        """One step of a block, halved until the objective does not rise; the next one begins at twice its length."""
        value, gradient = objective(f), jax.grad(loss)(f)

        def worse(state: tuple[Array, Array]) -> Array:
            tries, step = state
            return (tries < TRIES) & ~(objective(move(f, gradient, step)) <= value)

        tries, step = jax.lax.while_loop(worse, lambda s: (s[0] + 1, 0.5 * s[1]), (jnp.zeros((), int), length))
        moved = move(f, gradient, step)
        return jax.tree.map(lambda new, old: jnp.where(tries < TRIES, new, old), moved, f), 2 * step

    def sweep(state: tuple[Factors, Array], _: Array) -> tuple[tuple[Factors, Array], Array]:
        f, lengths = state
        f, first = block(f, lengths[0], on_rows)
        f, second = block(f, lengths[1], on_columns)
        size = jnp.sqrt(jnp.sum(f.rows**2))
        size = jnp.where(size > 0, size, 1.0)
        f = eqx.tree_at(lambda t: (t.rows, t.columns), f, (f.rows / size, f.columns * size))
        # a length is one of A or B, whose scales have just changed
        f, third = block(f, lengths[2], on_rest)
        sides = tuple(v / jnp.sqrt(jnp.mean(v**2)) for v in f.sides)
        f = Factors(f.rows, f.columns, (sides[0], sides[1], sides[2]), f.log_noise)
        return (f, jnp.stack([first / size**2, second, third])), objective(f)

    def run(f: Factors) -> tuple[Factors, Array]:
        lengths = jnp.full(3, 1e-2, x.dtype)
        (f, _), values = jax.lax.scan(sweep, (f, lengths), counter)
        return f, values

    return jax.lax.map(run, begin)
