"""The collapsed bound of inducing variables and its gradient, from passes over blocks of rows."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jensen.core import Scalar
from jensen.gp._linalg import LOG_2PI, jitter, solve_lower

BLOCK = 2048  # rows whose covariances with some hundred inducing variables stay in a core's cache


def num_blocks(n: int) -> int:
    """The number of blocks that n rows make."""
    return max(1, -(-n // BLOCK))


class Rows(eqx.Module):
    """n rows in blocks of one size: block j holds the rows j, j + blocks, j + 2 blocks, ...

    So rows that are spread over devices stay where they are. `used`: passes see so many blocks, the first ones, and
    count each of their rows `copies` times, as often as makes all rows of them; all blocks where None.
    """

    x: Float[Array, "size blocks d"]
    y: Float[Array, "size blocks"]
    present: Bool[Array, "size blocks"]
    used: int | Int[Array, ""]
    copies: Float[Array, ""]

    def __init__(self, x: Float[Array, "n d"], y: Float[Array, " n"], present: Bool[Array, " n"], used: Any = None):
        n, blocks = x.shape[0], num_blocks(x.shape[0])
        size = -(-n // blocks)

        def cut(a: Array) -> Array:
            filled = jnp.concatenate([a, jnp.zeros((size * blocks - n, *a.shape[1:]), a.dtype)])
            return filled.reshape(size, blocks, *a.shape[1:])

        self.x, self.y, self.present = cut(x), jnp.where(cut(present), cut(y), 0.0), cut(present)
        self.used, self.copies = blocks, jnp.ones((), y.dtype)
        if used is not None:
            self.used = jnp.clip(used, 1, blocks)
            counted = jnp.sum(self.present & (jnp.arange(blocks) < self.used))
            self.copies = (jnp.sum(present) / jnp.maximum(counted, 1)).astype(y.dtype)


class Products(eqx.Module):
    """Sums over rows that a sparse regression needs, with A = L^-1 Kuf: A A^T, A y, the prior variances, and y^2."""

    square: Float[Array, "m m"]
    pulled: Float[Array, " m"]
    prior: Float[Array, ""]
    power: Float[Array, ""]


def products(kernel: Any, features: Any, inverse: Float[Array, "m m"], rows: Rows) -> Products:
    """The sums; `inverse` is L^-1.

    A itself is made, not Kuf Kuf^T, whose rounding L^-1 would enlarge by the condition of Kuu = L L^T.
    """

    def add(j: Any, sums: Products) -> Products:
        cross, prior = _covariances(kernel, features, rows.x[:, j], rows.present[:, j])
        a, y = inverse @ cross, rows.y[:, j]
        block = Products(a @ a.T, a @ y, jnp.sum(prior), y @ y)
        return jax.tree.map(jnp.add, sums, block)

    m, dtype = inverse.shape[0], inverse.dtype
    zero = Products(jnp.zeros((m, m), dtype), jnp.zeros(m, dtype), jnp.zeros((), dtype), jnp.zeros((), dtype))
    total = jax.lax.fori_loop(0, rows.used, add, zero)
    return jax.tree.map(lambda a: a * rows.copies, total)


def _covariances(kernel: Any, features: Any, x: Array, present: Array) -> tuple[Array, Array]:
    """Kuf and the prior variances at some rows, 0 where there is none."""
    return jnp.where(present, features.cross(kernel, x), 0.0), jnp.where(present, kernel(x), 0.0)


def _steadied(kernel: Any, features: Any) -> Float[Array, "m m"]:
    """Kuu with the jitter of the policy."""
    k = features.covariance(kernel)
    return k + jitter(k) * jnp.eye(k.shape[0], dtype=k.dtype)


def inverse_factor(k: Float[Array, "m m"]) -> Float[Array, "m m"]:
    """L^-1 of k = L L^T."""
    return solve_lower(jnp.linalg.cholesky(k), jnp.eye(k.shape[0], dtype=k.dtype))


def whitener(kernel: Any, features: Any) -> Float[Array, "m m"]:
    """L^-1 with Kuu = L L^T."""
    return inverse_factor(_steadied(kernel, features))


@eqx.filter_custom_vjp
def collapsed_bound(
    parts: tuple[Any, Any, Scalar, Array, Array], present: Bool[Array, " n"], used: Int[Array, ""] | None
) -> Float[Array, ""]:
    """log N(y; 0, Q + noise I) - tr(K - Q) / (2 noise), `parts` = (kernel, features, noise, x, y).

    `used`: so many blocks of rows estimate the bound of all. Memory is that of one block whatever n is: the gradient
    makes the covariances of each block once more. It is written out, one pass with two products of 2 n m^2, as the
    bound itself is. With A = L^-1 Kuf, S = A A^T / noise, B = I + S and w = B^-1 A y / noise:

    dA = (I - B^-1 - w w^T) A / noise + w y^T / noise and dKuu = -L^-T (B + B^-1 - 2 I + w w^T) L^-1 / 2.

    It can be differentiated backwards, and forwards after that (a Hessian), but not forwards alone.
    """
    return _forward(parts, present, used)[0]


def _forward(parts: Any, present: Array, used: Any) -> tuple[Array, tuple[Any, ...]]:
    kernel, features, noise, x, y = parts
    inverse, rows = whitener(kernel, features), Rows(x, y, present, used)
    sums = products(kernel, features, inverse, rows)
    half = inverse_factor(jnp.eye(inverse.shape[0], dtype=inverse.dtype) + sums.square / noise)  # of B
    n = jnp.sum(present)
    white = half @ sums.pulled / noise
    left = (sums.power + sums.prior - jnp.trace(sums.square)) / noise
    log_det = n * jnp.log(noise) - 2 * jnp.sum(jnp.log(jnp.diagonal(half)))
    return -0.5 * (n * LOG_2PI + log_det + left - white @ white), (inverse, rows, sums, half, white)


@collapsed_bound.def_fwd
def _(perturbed: Any, parts: Any, present: Array, used: Any) -> Any:
    return _forward(parts, present, used)


@collapsed_bound.def_bwd
def _(residuals: Any, scale: Array, perturbed: Any, parts: Any, present: Array, used: Any) -> Any:
    kernel, features, noise, x, _ = parts
    inverse, rows, sums, half, white = residuals
    eye = jnp.eye(inverse.shape[0], dtype=inverse.dtype)
    mean, b = half.T @ white, eye + sums.square / noise
    b_inverse, outer = half.T @ half, jnp.outer(mean, mean)

    explained = jnp.trace(sums.square) - jnp.sum(b_inverse * sums.square) - mean @ sums.square @ mean
    rate = (
        sums.power + sums.prior - explained
    ) / noise - 2 * white @ white  # but for n, twice the derivative in log noise
    dnoise = scale * (rate - jnp.sum(present)) / (2 * noise)

    def steadied(kernel: Any, features: Any) -> Array:
        return _steadied(kernel, features)

    dk = -0.5 * scale * inverse.T @ (b + b_inverse - 2 * eye + outer) @ inverse
    start = eqx.filter_vjp(steadied, kernel, features)[1](dk)

    share = scale * rows.copies / noise
    turn, along = share * inverse.T @ (eye - b_inverse - outer), share * inverse.T @ mean
    places = perturbed[3]

    def add(j: Any, carry: Any) -> Any:
        sums, dx, dy = carry
        at, there, targets = rows.x[:, j], rows.present[:, j], rows.y[:, j]
        moved = (kernel, features, at) if places else (kernel, features)

        def block(*moved: Any) -> tuple[Array, Array]:
            return _covariances(kernel=moved[0], features=moved[1], x=moved[2] if places else at, present=there)

        (cross, prior), pull = eqx.filter_vjp(block, *moved)
        a = inverse @ cross
        found = pull((turn @ a + along[:, None] * targets, jnp.full_like(prior, -0.5 * share)))
        dx = dx.at[:, j].set(found[2]) if places else dx
        dy = dy.at[:, j].set(share * (mean @ a - targets)) if perturbed[4] else dy
        return jax.tree.map(jnp.add, sums, found[:2]), dx, dy

    dx, dy = jnp.zeros_like(rows.x) if places else None, jnp.zeros_like(rows.y) if perturbed[4] else None
    (dkernel, dfeatures), dx, dy = jax.lax.fori_loop(0, rows.used, add, (start, dx, dy))
    n = x.shape[0]
    dx = dx.reshape(-1, x.shape[1])[:n] if places else None
    return dkernel, dfeatures, dnoise, dx, dy.reshape(-1)[:n] if perturbed[4] else None
