"""Proximal maps of total variation and of the absolute value."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def tv_prox(y: Float[Array, " n"], weight: Any) -> Float[Array, " n"]:
    """argmin_x |x - y|^2 / 2 + weight sum_i |x_(i+1) - x_i|: denoising by total variation along a line.

    By its dual, min over |u| <= weight of |y - D^T u|^2 / 2 with D the first difference, x = y - D^T u: accelerated
    projected gradients with the momentum of the known spectrum of D D^T, 20 n rounds, which shrink the error by e^-15
    at least.

    Source: Chambolle (2004), An algorithm for total variation minimization; Nesterov (2004) for the momentum.
    """
    n = y.shape[0]
    if n == 1:
        return y
    root = jnp.sin(jnp.pi / (2 * n))  # the square root of the condition number of D D^T is cos / sin of this angle
    momentum = (1 - root) / (1 + root)

    def back(u: Array) -> Array:
        """D^T u."""
        padded = jnp.pad(u, 1)
        return padded[:-1] - padded[1:]

    def one(_: Any, pair: tuple[Array, Array]) -> tuple[Array, Array]:
        u, ahead = pair
        moved = jnp.clip(ahead + 0.25 * jnp.diff(y - back(ahead)), -weight, weight)
        return moved, moved + momentum * (moved - u)

    start = jnp.zeros(n - 1, y.dtype)
    u, _ = jax.lax.fori_loop(0, 20 * n, one, (start, start))
    return y - back(u)


def soft_threshold(x: Array, weight: Any) -> Array:
    """argmin_z |z - x|^2 / 2 + weight |z|_1 = sign(x) max(|x| - weight, 0).

    After `tv_prox` it gives the proximal map of the sum of both penalties (Friedman et al. 2007).
    """
    return jnp.sign(x) * jnp.maximum(jnp.abs(x) - weight, 0.0)
