"""grad log q carried through a layer of a flow from what enters to what leaves, without its inverse.

For y = T(x): grad log q_y = J^-T (grad log q_x - grad log |det J|). Vaitl, Winkler, Richter and Kessel (2024).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

Vector = Float[Array, " n"]
Held = Float[Array, " m"]
Parameters = Callable[[Any], Float[Array, "n p"]]
# of the parameters and the coordinates: their images and the logarithms of the slopes, coordinate by coordinate
Elementwise = Callable[[Float[Array, "n p"], Vector], tuple[Vector, Vector]]


def through_coupling(
    parameters: Parameters, each: Elementwise, passive: Held, active: Vector, g_passive: Held, g_active: Vector
) -> tuple[Vector, Vector, Held, Vector]:
    """b' = t(b; theta(a)): b', the log slopes, and g of a and b' after the layer; one backward pass of the network."""
    theta, back = jax.vjp(parameters, passive)
    (image, log_slope), pull = jax.vjp(each, theta, active)
    by_theta, by_active = pull((jnp.zeros_like(image), jnp.ones_like(log_slope)))
    g_image = (g_active - by_active) * jnp.exp(-log_slope)
    along, _ = pull((g_image, jnp.zeros_like(log_slope)))
    return image, log_slope, g_passive - back(by_theta + along)[0], g_image


def through_autoregression(
    parameters: Parameters, each: Elementwise, x: Vector, g: Vector
) -> tuple[Vector, Vector, Vector]:
    """y_i = t(x_i; theta_i(x_1..x_(i-1))): y, the log slopes and g; d backward passes at once, a triangular solve."""
    theta, back = jax.vjp(parameters, x)
    (y, log_slope), pull = jax.vjp(each, theta, x)

    def row(image: Vector, slope: Vector) -> Vector:
        by_theta, by_x = pull((image, slope))
        return by_x + back(by_theta)[0]

    nothing = jnp.zeros_like(y)
    jacobian = jax.vmap(lambda e: row(e, nothing))(jnp.eye(y.shape[0], dtype=y.dtype))
    bend = row(nothing, jnp.ones_like(log_slope))
    return y, log_slope, solve_triangular(jacobian, g - bend, lower=True, trans=1)
