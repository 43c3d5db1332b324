"""Squared distances between scaled inputs, with derivatives that need one product of matrices and not four."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float


@jax.custom_jvp
def product_squares(x: Float[Array, "n d"], y: Float[Array, "m d"], scale: Float[Array, "*s"]) -> Float[Array, "n m"]:
    """|(x_i - y_j) / scale|^2 from one product of the scaled inputs, to rounding in units of the largest.

    Derivatives are those of the distance itself, 2 (a_i - b_j) . (da_i - db_j) with a = x / scale and b = y / scale:
    backwards, those in x and in the scales both come from one product of the (n, m) cotangents with b.
    """
    a, b = _centred(x, y, scale)
    return jnp.maximum(jnp.sum(a**2, 1)[:, None] + jnp.sum(b**2, 1) - 2 * a @ b.T, 0.0)


def _jvp(primals: Any, tangents: Any) -> tuple[Array, Any]:
    x, y, scale = primals
    dx, dy, dscale = (None if isinstance(t, SymbolicZero) else t for t in tangents)
    a, b = _centred(x, y, scale)
    rows, columns, left = [], [], []  # the change is rows_i + columns_j + left_i . b_j, and a_i . db_j
    if dx is not None:
        rows.append(2 * jnp.sum(a * dx / scale, 1))
        left.append(-2 * dx / scale)
    if dscale is not None:
        rate = dscale / scale
        rows.append(-2 * jnp.sum(a**2 * rate, 1))
        columns.append(-2 * jnp.sum(b**2 * rate, 1))
        left.append(4 * a * rate)
    change = functools.reduce(jnp.add, left) @ b.T if left else jnp.zeros((len(a), len(b)), a.dtype)
    if dy is not None:
        columns.append(2 * jnp.sum(b * dy / scale, 1))
        change = change - 2 * a @ (dy / scale).T
    for row in rows:
        change = change + row[:, None]
    for column in columns:
        change = change + column
    return product_squares(x, y, scale), change


product_squares.defjvp(_jvp, symbolic_zeros=True)


def _centred(x: Array, y: Array, scale: Array) -> tuple[Array, Array]:
    """Scaled inputs about the mean of the second: products of large numbers would drown small distances."""
    a, b = x / scale, y / scale
    centre = jax.lax.stop_gradient(jnp.mean(b, 0))
    return a - centre, b - centre


def difference_squares(
    x: Float[Array, "n d"], y: Float[Array, "m d"], scale: Float[Array, "*s"]
) -> Float[Array, "n m"]:
    """The same from the differences themselves: to rounding in units of each."""
    return jnp.sum((x[:, None] / scale - y / scale) ** 2, -1)
