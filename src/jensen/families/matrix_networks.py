"""Networks of matrix products: what makes all weights of a large network from one small matrix of noise."""

import itertools
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import PRNGKey
from jensen.families.generator import Generator

_PILOT = 64  # draws by which the networks are scaled


class MatrixNetworks(Generator):
    """g(E) = b + (g_1(E), ..., g_n(E)): of one matrix E of noise, a network of matrix products for each array.

    g_j is a composition of X -> gelu(A X B + C), without gelu at the end: A works on the rows and B on the columns, so
    that an array of p x q unknowns costs of the order of p + q weights a row or column of E, where a dense layer costs
    p q of them. All g_j see the same E, which is what correlates the arrays with one another.

    `shift`: b. `left`, `right`, `bias`: A, B and C of each layer of each g_j. `shape`: of E.

    Source: Uppal, Stensbo-Smidt, Boomsma and Frellsen (2023), the matrix multiplication network.
    """

    shift: Float[Array, " d"]
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
        return self.shift + jnp.concatenate(made)

    def config(self) -> dict[str, Any]:
        hidden, depth = self.left[0][0].shape[0], len(self.left[0]) - 1
        shapes = [list(c[-1].shape) for c in self.bias]
        return {"shapes": shapes, "rows": self.shape[0], "columns": self.shape[1], "width": hidden, "depth": depth}

    @classmethod
    def from_config(cls, config: dict[str, Any], dimension: int) -> "MatrixNetworks":
        rows, columns, width, depth = (int(config[name]) for name in ("rows", "columns", "width", "depth"))
        shapes = tuple((int(p), int(q)) for p, q in config["shapes"])
        return init_matrix_networks(jax.random.key(0), shapes, (rows, columns), width, depth)


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
    shift = jnp.zeros(sum(math.prod(out) for out in shapes), real)
    made = MatrixNetworks(shift, tuple(left), tuple(right), tuple(bias), shape)
    noise = jax.random.normal(jax.random.fold_in(key, len(shapes)), (_PILOT, made.size), real)
    scale = jnp.sqrt(jnp.mean(jax.vmap(made)(noise) ** 2))
    last = tuple((*a[:-1], a[-1] / scale) for a in made.left)
    return eqx.tree_at(lambda m: m.left, made, last)
