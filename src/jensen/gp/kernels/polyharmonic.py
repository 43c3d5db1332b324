"""Polyharmonic splines: the generalised covariances that know no length."""

import itertools
import math

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float
from tinygp.kernels import Kernel

from jensen.core import require


class Polyharmonic(Kernel):
    """phi(r) = (-1)^(s+1) r^(2s) log r for integer s, else (-1)^ceil(s) r^(2s), with r = |x - x'|.

    A generalised covariance, conditionally positive definite of order m = floor(s) + 1: sum_ij c_i c_j phi(|x_i - x_j|)
    is positive for all c orthogonal to the polynomials of degree below m, and on no wider space. So it is not for a
    Gaussian process with a proper prior, but for `intrinsic_kriging`, where those polynomials have a flat prior. Up to
    amplitude it is the only one that is invariant to translation, rotation and scaling of the inputs: its spectral
    density is |w|^-(d + 2s). s = 1/2 gives -r (in one dimension Brownian motion), 1 the thin plate r^2 log r, 3/2 r^3
    (in one dimension the cubic smoothing spline).

    `smoothness`: s > 0, static: whether it is an integer decides the formula. Amplitude in units of y^2 / length^(2s).
    Raises `InputError` for s <= 0.

    Source: Matheron (1973), The intrinsic random functions and their applications; Duchon (1977); Bakhvalov (2025),
    Solving a machine learning regression problem based on the theory of random functions.
    """

    smoothness: float = eqx.field(static=True, default=1.0)

    def __check_init__(self):
        require(
            math.isfinite(self.smoothness) and self.smoothness > 0,
            f"smoothness must be positive, got {self.smoothness}",
        )

    @property
    def order(self) -> int:
        """m = floor(s) + 1: polynomials of degree below m have a flat prior."""
        return math.floor(self.smoothness) + 1

    def evaluate(self, X1: Float[Array, "*d"], X2: Float[Array, "*d"]) -> Float[Array, ""]:
        square = jnp.sum((X1 - X2) ** 2)
        safe = jnp.where(square > 0, square, 1.0)  # keeps the derivative of log and of roots finite at 0
        s = self.smoothness
        if s == math.floor(s):
            value = (-1.0) ** (s + 1) * 0.5 * safe**s * jnp.log(safe)
        else:
            value = (-1.0) ** math.ceil(s) * safe**s
        return jnp.where(square > 0, value, 0.0)


def monomials(x: Float[Array, "n d"], order: int) -> Float[Array, "n m"]:
    """All binomial(d + order - 1, d) monomials of degree below `order` at the rows of x, the constant first."""
    columns = [
        jnp.prod(x[:, list(chosen)], axis=1)
        for degree in range(order)
        for chosen in itertools.combinations_with_replacement(range(x.shape[1]), degree)
    ]
    return jnp.stack(columns, axis=1)
