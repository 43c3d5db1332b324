"""The thermodynamic variational objective."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import GradientEstimator, Scalar, check_count, scalar_field
from jensen.gradient_estimators import DoublyReparameterised
from jensen.objectives._of_log_weights import OfLogWeights, check_setting, check_weights


class ThermodynamicObjective(OfLogWeights):
    """-E[sum_t (b_(t+1) - b_t) sum_k softmax(b_t log w)_k log w_k], 0 = b_0 < b_1 < ... < b_T = 1; in nats.

    The left Riemann sum of log Z = int_0^1 E_{pi_b}[log w] db, pi_b proportional to q^(1-b) p^b, each expectation by
    the same K = `num_weights` draws of q, reweighted. b_1 = `first`, then evenly spaced in log b up to 1; T =
    `num_parts`. Its negative is a lower bound on the log evidence for every K: the integrand rises with b draw by draw,
    so that the sum is at most the integral, log 1/K sum_k w_k. T = 1 is the ELBO; as T grows, the importance-weighted
    bound.

    Raises `InputError` for T < 1, `first` outside (0, 1), K < 1, or with `StickingTheLanding`.

    Source: Masrani, Le and Wood (2019), whose gradient is a covariance; here the estimator differentiates the sum.
    """

    bound: ClassVar[str | None] = "lower"
    first: Scalar = scalar_field(0.03)
    num_parts: int = eqx.field(static=True, default=4)
    num_weights: int = eqx.field(static=True, default=16)
    estimator: GradientEstimator = DoublyReparameterised(num_draws=4)

    def __check_init__(self):
        check_weights(self)
        check_setting("first", self.first, lambda b: 0 < b < 1, "between 0 and 1")
        check_count("num_parts", self.num_parts)

    @property
    def points(self) -> Float[Array, " t"]:
        """b_0, ..., b_T."""
        if self.num_parts == 1:
            return jnp.stack([0 * self.first, 1 + 0 * self.first])
        inner = self.first ** jnp.linspace(1.0, 0.0, self.num_parts, dtype=self.first.dtype)
        return jnp.concatenate([jnp.zeros(1, inner.dtype), inner])

    def phi(self, log_w: Float[Array, " k"]) -> Float[Array, ""]:
        points = self.points.astype(log_w.dtype)
        weights = jax.nn.softmax(points[:-1, None] * log_w, axis=1)  # (T, K)
        return -jnp.vdot(jnp.diff(points), weights @ log_w)
