"""The monotone rational-quadratic spline, both ways."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

REACH = 4.0  # the spline acts on [-REACH, REACH] and is the identity beyond
MIN_BIN, MIN_SLOPE = 1e-3, 1e-3

Knots = tuple[Float[Array, " edges"], Float[Array, " edges"], Float[Array, " edges"]]


def num_parameters(bins: int) -> int:
    """Raw numbers of a spline of `bins` bins: widths, heights, inner slopes."""
    return 3 * bins - 1


def knots(raw: Float[Array, " p"], bins: int) -> Knots:
    """(places, values, slopes) of the knots; any raw numbers are valid, zeros are the identity."""

    def edges(logits: Float[Array, " k"]) -> Float[Array, " edges"]:
        share = MIN_BIN + (1 - MIN_BIN * bins) * jax.nn.softmax(logits)
        inner = jnp.cumsum(share)[:-1]
        ends = jnp.ones(1, inner.dtype)
        return REACH * (2 * jnp.concatenate([0 * ends, inner, ends]) - 1)

    one = jnp.log(jnp.expm1(1 - MIN_SLOPE))  # softplus of it is 1 - MIN_SLOPE
    slopes = MIN_SLOPE + jax.nn.softplus(raw[2 * bins :] + one)
    ends = jnp.ones(1, raw.dtype)
    return edges(raw[:bins]), edges(raw[bins : 2 * bins]), jnp.concatenate([ends, slopes, ends])


def forward(x: Float[Array, ""], at: Knots) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """s(x) and log s'(x). Source: Gregory and Delbourgo (1982); Durkan et al. (2019)."""
    inside = jnp.abs(x) < REACH
    x0, w, y0, h, d0, d1 = _bin(jnp.where(inside, x, 0.0), at[0], at)
    slope = h / w
    t = jnp.clip((jnp.where(inside, x, 0.0) - x0) / w, 0.0, 1.0)
    bottom = slope + (d0 + d1 - 2 * slope) * t * (1 - t)
    y = y0 + h * (slope * t**2 + d0 * t * (1 - t)) / bottom
    log_slope = 2 * jnp.log(slope) + jnp.log(d1 * t**2 + 2 * slope * t * (1 - t) + d0 * (1 - t) ** 2)
    return jnp.where(inside, y, x), jnp.where(inside, log_slope - 2 * jnp.log(bottom), 0.0)


def inverse(y: Float[Array, ""], at: Knots) -> Float[Array, ""]:
    """x with s(x) = y: the root of a quadratic equation."""
    inside = jnp.abs(y) < REACH
    safe = jnp.where(inside, y, 0.0)
    x0, w, y0, h, d0, d1 = _bin(safe, at[1], at)
    slope, rise = h / w, safe - y0
    bend = d0 + d1 - 2 * slope
    a, b, c = h * (slope - d0) + rise * bend, h * d0 - rise * bend, -slope * rise
    root = jnp.sqrt(jnp.maximum(b**2 - 4 * a * c, 0.0))
    return jnp.where(inside, x0 + w * jnp.clip(2 * c / (-b - root), 0.0, 1.0), y)


def _bin(x: Float[Array, ""], edges: Float[Array, " edges"], at: Knots) -> tuple[Array, ...]:
    places, values, slopes = at
    i = jnp.clip(jnp.searchsorted(edges, x, side="right") - 1, 0, edges.shape[0] - 2)
    return places[i], places[i + 1] - places[i], values[i], values[i + 1] - values[i], slopes[i], slopes[i + 1]
