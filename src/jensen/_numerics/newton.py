"""Damped Newton ascent of a log density, safe where the Hessian is indefinite."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jensen.core import in_batches

LOST = 1e7  # damping at which no step of any size was acceptable

ELBO_DRAWS = 8
ALL = 2**30

Function = Callable[[Float[Array, " d"]], Float[Array, ""]]


class Climb(eqx.Module):
    """Where a climb is: the point, its log density, gradient and Hessian, and the damping of the next step.

    `elbo`: the highest ELBO of a local Gaussian met on the way, a lower bound on the log evidence.
    """

    z: Float[Array, " d"]
    value: Float[Array, ""]
    gradient: Float[Array, " d"]
    hessian: Float[Array, "d d"]
    damping: Float[Array, ""]
    elbo: Float[Array, ""]


def _over(fn: Callable[[Array], Any], rows: Float[Array, "k d"], at_once: int) -> Any:
    return jax.vmap(fn)(rows) if len(rows) <= at_once else in_batches(fn, rows, at_once)


def value_gradient_hessian(
    fn: Function, z: Float[Array, " d"], at_once: int = ALL
) -> tuple[Float[Array, ""], Float[Array, " d"], Float[Array, "d d"]]:
    """`fn`, its gradient and its Hessian at z: d + 1 gradients' work in one graph, columns side by side `at_once`.

    Forward over reverse; where `fn` has no forward derivative (a custom reverse rule, as in some ODE solvers), central
    differences of the gradient with step cbrt(machine epsilon) (1 + |z_i|), whose relative error is about 1e-10 in
    double and 1e-5 in single precision.
    """
    gradient = jax.value_and_grad(fn)
    try:
        (value, slope), tangents = jax.linearize(gradient, z)
        rows = _over(lambda e: tangents(e)[1], jnp.eye(z.shape[0], dtype=z.dtype), at_once)
    except TypeError:
        width = jnp.cbrt(jnp.finfo(z.dtype).eps) * (1 + jnp.abs(z))
        shifts = jnp.concatenate([jnp.zeros((1, z.shape[0]), z.dtype), jnp.diag(width), -jnp.diag(width)])
        values, slopes = _over(gradient, z + shifts, at_once)
        value, slope = values[0], slopes[0]
        up, down = jnp.split(slopes[1:], 2)
        rows = (up - down) / (2 * width[:, None])
    return value, slope, 0.5 * (rows + rows.T)


def start_climb(z: Float[Array, " d"]) -> Climb:
    """A climb whose first proposal is z itself, which is accepted if its density is finite."""
    d, dtype = z.shape[0], z.dtype
    lowest = jnp.asarray(jnp.finfo(dtype).min, dtype)
    return Climb(z, lowest, jnp.zeros(d, dtype), -jnp.eye(d, dtype=dtype), jnp.asarray(1e-2, dtype), lowest)


def newton_step(fn: Function, climb: Climb, at_once: int = ALL) -> tuple[Climb, Float[Array, ""]]:
    """One damped step of ascent, z + (|H| + lambda max|H|)^-1 g, and the Newton decrement sqrt(g^T |H|^-1 g) before it.

    |H| has the absolute eigenvalues of the Hessian, so that every direction is one of ascent; the damping lambda makes
    it a short gradient step far from a mode. The step is taken, and lambda divided by ten, if all is finite there and
    the
    density no lower; else lambda is multiplied by ten. The decrement is the distance to the mode in posterior standard
    deviations; it is infinite before the first accepted step.

    `at_once`: evaluations side by side, where each takes much memory.

    On the way the ELBO of N(z, |H|^-1) is estimated by a few draws: a path to a mode without mass (a funnel's neck)
    leads through the mass (Zhang et al. 2022), of which this bound then tells.
    """
    eigenvalues, vectors = jnp.linalg.eigh(climb.hessian)
    size = jnp.abs(eigenvalues) + jnp.finfo(eigenvalues.dtype).tiny
    slope = vectors.T @ climb.gradient
    started = climb.value > jnp.finfo(climb.value.dtype).min
    decrement = jnp.where(started, jnp.sqrt(jnp.sum(slope**2 / size)), jnp.inf)
    elbo = jnp.where(started, _local_elbo(fn, climb.z, size, vectors, at_once), climb.elbo)
    elbo = jnp.where(elbo > climb.elbo, elbo, climb.elbo)
    z = climb.z + vectors @ (slope / (size + climb.damping * jnp.max(size)))
    value, gradient, hessian = value_gradient_hessian(fn, z, at_once)
    usable = jnp.isfinite(value) & jnp.all(jnp.isfinite(gradient)) & jnp.all(jnp.isfinite(hessian))
    better = usable & (value >= climb.value)
    damping = jnp.where(better, jnp.maximum(0.1 * climb.damping, 1e-14), jnp.minimum(10.0 * climb.damping, 1e8))
    trial = Climb(z, value, gradient, hessian, damping, elbo)
    old = Climb(climb.z, climb.value, climb.gradient, climb.hessian, damping, elbo)
    return jax.tree.map(lambda new, kept: jnp.where(better, new, kept), trial, old), decrement


def _local_elbo(
    fn: Function, z: Float[Array, " d"], size: Float[Array, " d"], vectors: Float[Array, "d d"], at_once: int
) -> Float[Array, ""]:
    """E log p - E log q for q = N(z, V diag(size)^-1 V^T), by antithetic draws; NaN where p is not finite.

    The noise is the same at every call, a constant of the program: random numbers in the loop would double its
    compilation, and one set of draws is as good as another where none is chosen for its result.
    """
    half = np.random.default_rng(0).normal(size=(ELBO_DRAWS // 2, z.shape[0]))
    noise = jnp.asarray(np.concatenate([half, -half]), z.dtype)
    draws = z + (noise / jnp.sqrt(size)) @ vectors.T
    minus_log_q = 0.5 * jnp.sum(noise**2 + math.log(2 * math.pi) - jnp.log(size), axis=1)
    return jnp.mean(_over(fn, draws, at_once) + minus_log_q)


def ended(climb: Climb, decrement: Float[Array, ""], tolerance: Any) -> Bool[Array, ""]:
    """Whether a climb has arrived, or no step of any size was acceptable."""
    return (decrement < tolerance) | (climb.damping >= LOST)
