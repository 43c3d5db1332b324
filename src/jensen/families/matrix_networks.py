"""Networks of matrix products: what makes all weights of a large network from one small matrix of noise."""

import itertools
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import InputError, PRNGKey, Scalar, scalar_field
from jensen.families._builders import Builder
from jensen.families.gaussian import Gaussian
from jensen.families.implicit import Implicit, check_settings

_PILOT = 64  # draws by which the networks are scaled


class MatrixNetworks(eqx.Module):
    """g(E) = (g_1(E), ..., g_n(E)): of one matrix E of noise, a network of matrix products for each array of unknowns.

    g_j is a composition of X -> gelu(A X B + C), without gelu at the end: A works on the rows and B on the columns, so
    that an array of p x q unknowns costs of the order of p + q weights a row or column of E, where a dense layer costs
    p q of them. All g_j see the same E, which is what correlates the arrays with one another.

    `left`, `right`, `bias`: A, B and C of each layer of each g_j. `shape`: of E.

    Source: Uppal, Stensbo-Smidt, Boomsma and Frellsen (2023), the matrix multiplication network.
    """

    left: tuple[tuple[Float[Array, "..."], ...], ...]
    right: tuple[tuple[Float[Array, "..."], ...], ...]
    bias: tuple[tuple[Float[Array, "..."], ...], ...]
    shape: tuple[int, int] = eqx.field(static=True)

    @property
    def size(self) -> int:
        """Number of entries of E."""
        return math.prod(self.shape)

    def __call__(self, e: Float[Array, " k"]) -> Float[Array, " d"]:
        made = []
        for left, right, bias in zip(self.left, self.right, self.bias, strict=True):
            x = e.reshape(self.shape)
            for i, (a, b, c) in enumerate(zip(left, right, bias, strict=True)):
                x = a @ x @ b + c
                x = x if i == len(left) - 1 else jax.nn.gelu(x)
            made.append(jnp.ravel(x))
        return jnp.concatenate(made)

    def config(self) -> dict[str, Any]:
        """Sizes, by which `init_matrix_networks` makes one of the same structure."""
        hidden, depth = self.left[0][0].shape[0], len(self.left[0]) - 1
        shapes = [list(c[-1].shape) for c in self.bias]
        return {"shapes": shapes, "rows": self.shape[0], "columns": self.shape[1], "width": hidden, "depth": depth}


def init_matrix_networks(
    key: PRNGKey, shapes: tuple[tuple[int, int], ...], shape: tuple[int, int], width: int, depth: int
) -> MatrixNetworks:
    """Normal weights, `depth` hidden layers of width x width, scaled so that outputs have a mean square of one."""
    left, right, bias = [], [], []
    real = jnp.result_type(float)
    for j, out in enumerate(shapes):
        sizes = [shape, *[(width, width)] * depth, out]
        keys = jax.random.split(jax.random.fold_in(key, j), 2 * (len(sizes) - 1))
        layers = list(itertools.pairwise(sizes))
        draw = [
            tuple(
                jax.random.normal(k, (m, n), real) / math.sqrt(fan_in) for k, (m, n, fan_in) in zip(ks, of, strict=True)
            )
            for ks, of in (
                (keys[::2], [(q[0], p[0], p[0]) for p, q in layers]),
                (keys[1::2], [(p[1], q[1], p[1]) for p, q in layers]),
            )
        ]
        left.append(draw[0])
        right.append(draw[1])
        bias.append(tuple(jnp.zeros(q, real) for _, q in layers))
    made = MatrixNetworks(tuple(left), tuple(right), tuple(bias), shape)
    noise = jax.random.normal(jax.random.fold_in(key, len(shapes)), (_PILOT, made.size), real)
    scale = jnp.sqrt(jnp.mean(jax.vmap(made)(noise) ** 2))
    last = tuple((*a[:-1], a[-1] / scale) for a in made.left)
    return eqx.tree_at(lambda m: m.left, made, last)


class HypernetworkBuilder(Builder):
    """`Implicit` whose generator is `MatrixNetworks`: one network of matrix products for each unknown of the target.

    For the weights of networks, an unknown a layer (its matrix, with the bias as a further column): an unknown of
    shape (p, q) is made whole, a vector as a column, more axes with the first as rows. `build` without a target makes
    one column of everything. It begins at the Gaussian's mean with about its standard deviations, along rows x columns
    directions. Train it by `objectives.LinearisedElbo`, whose cost is rows x columns forward derivatives a draw.

    `rows`, `columns`: of the matrix of noise. `width`, `depth`: of the hidden layers. `sigma`, `num_auxiliary`: as in
    `ImplicitBuilder`.

    Raises `InputError` for rows, columns or width below 1, num_auxiliary or depth below 0, or sigma not positive.

    Source: Uppal, Stensbo-Smidt, Boomsma and Frellsen (2023).
    """

    rows: int = eqx.field(static=True, default=4)
    columns: int = eqx.field(static=True, default=4)
    sigma: Scalar = scalar_field(1e-2)
    num_auxiliary: int = eqx.field(static=True, default=64)
    width: int = eqx.field(static=True, default=16)
    depth: int = eqx.field(static=True, default=1)

    def __check_init__(self):
        check_settings(self, ("rows", "columns", "width"))

    def build(self, key: PRNGKey, gaussian: Gaussian) -> Implicit:
        return self._of(key, gaussian, ((gaussian.dimension, 1),))

    def build_for(self, key: PRNGKey, target: Any, gaussian: Gaussian) -> Implicit:
        shapes = tuple(_matrix(v.unconstrained_shape) for v in target.space.variables)
        if sum(math.prod(s) for s in shapes) != gaussian.dimension:
            raise InputError(f"The target has {shapes} unknowns, and the Gaussian {gaussian.dimension}")
        return self._of(key, gaussian, shapes)

    def _of(self, key: PRNGKey, gaussian: Gaussian, shapes: tuple[tuple[int, int], ...]) -> Implicit:
        real = gaussian.mean.dtype
        networks = init_matrix_networks(key, shapes, (self.rows, self.columns), self.width, self.depth)
        shift = jnp.zeros(gaussian.dimension, real)
        return Implicit(
            gaussian.mean, gaussian.scale_tril, None, shift, networks, self.sigma.astype(real), self.num_auxiliary
        )


def rebuilt(config: dict[str, Any]) -> Implicit:
    """An `Implicit` of the structure that `Implicit.config` names, its values arbitrary."""
    d = int(config["dimension"])
    sizes = {name: int(config[name]) for name in ("rows", "columns", "width", "depth", "num_auxiliary")}
    made: Any = HypernetworkBuilder(**sizes)
    shapes = tuple((int(p), int(q)) for p, q in config["shapes"])
    return made._of(jax.random.key(0), Gaussian(jnp.zeros(d), jnp.eye(d)), shapes)


def _matrix(shape: tuple[int, ...]) -> tuple[int, int]:
    return (1, 1) if not shape else (shape[0], math.prod(shape[1:]))
