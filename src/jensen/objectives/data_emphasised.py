"""The data-emphasised ELBO, which learns the variance of its prior."""

import math
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jensen.core import Estimate, GradientEstimator, InputError, Objective, PRNGKey, Rows, as_scalar
from jensen.families import DiagonalGaussian, Gaussian, LowRankGaussian
from jensen.gradient_estimators import Reparameterisation
from jensen.objectives._of_log_weights import check_setting
from jensen.objectives.tempered_elbo import check_rows


def _optional(value: Any) -> Any:
    return None if value is None else as_scalar(value)


class DataEmphasisedElbo(Objective):
    """KL(q || N(mu, diag(v))) - k E_q[log likelihood(z)] at the v that makes it least; in nats, q Gaussian.

    v = `prior_variance(q)`: of each block b of coordinates the mean of E_q[(z_i - mu_i)^2], in closed form, so that the
    strength of regularisation is learned on all data with no search and no validation split. It takes the place of the
    target's prior. k = `emphasis`, d / N where None: it keeps a model of more weights than rows from learning that
    nothing can be learned. For k > 1 it is no bound on the evidence, nor is it of the target's for k = 1: none is
    declared. A learned noise scale goes to zero under a large k: bound it from below.

    Args:
        emphasis: k, or None for d / N.
        centre: mu, shape (d,): pre-trained weights; zero where None.
        blocks: sizes of consecutive blocks of coordinates with a variance each; one block of all where empty.
        estimator: of E_q[log likelihood].

    Raises `InputError` for k <= 0, blocks that do not add up to d, or a q that is no Gaussian of this library;
    `MissingCapability` for a target without rows.

    Source: Harvey, Petrov and Hughes (2024), with k = d / N for classifiers and d / (2 N) for their regressions.
    """

    needs: ClassVar[Any] = Rows
    bound: ClassVar[str | None] = None
    emphasis: Any = eqx.field(default=None, converter=_optional)
    centre: Float[Array, " d"] | None = None
    blocks: tuple[int, ...] = eqx.field(static=True, default=())
    estimator: GradientEstimator = Reparameterisation()

    def __check_init__(self):
        if self.emphasis is not None:
            check_setting("emphasis", self.emphasis, lambda k: k > 0, "positive")

    def prior_variance(self, q: Any) -> Float[Array, " blocks"]:
        """v of each block: the mean over its coordinates of E_q[(z_i - mu_i)^2]."""
        sizes = self._sizes(q.dimension)
        centred = q.mean if self.centre is None else q.mean - self.centre
        members = np.repeat(np.arange(len(sizes)), sizes)
        return jax.ops.segment_sum(centred**2 + _variances(q), members, len(sizes)) / jnp.asarray(sizes)

    def divergence(self, q: Any) -> Float[Array, ""]:
        """KL(q || N(mu, diag(v))) at v = `prior_variance(q)`: d/2 (1 + log 2 pi) + 1/2 sum_i log v_i - H(q)."""
        d, sizes = q.dimension, jnp.asarray(self._sizes(q.dimension), q.mean.dtype)
        return 0.5 * (jnp.vdot(sizes, jnp.log(self.prior_variance(q))) + d * (1 + math.log(2 * math.pi))) - q.entropy()

    def loss(self, key: PRNGKey, q: Any, target: Any) -> Estimate:
        check_rows(self, target)
        k = q.dimension / target.num_rows if self.emphasis is None else self.emphasis.astype(q.mean.dtype)
        divergence = self.divergence(q)
        part = self.estimator.expectation(key, q, lambda q, z: -k * (target.log_density(z) - target.log_prior(z)))
        return Estimate(part.value + divergence, part.surrogate + divergence, part.standard_error)

    def _sizes(self, d: int) -> tuple[int, ...]:
        sizes = self.blocks or (d,)
        if sum(sizes) != d or min(sizes) < 1:
            raise InputError(f"blocks must be positive sizes that add up to the dimension {d}, got {sizes}")
        return sizes


def _variances(q: Any) -> Float[Array, " d"]:
    """The marginal variances, without a d x d matrix where there is none."""
    if isinstance(q, DiagonalGaussian):
        return jnp.exp(2 * q.log_scale)
    if isinstance(q, Gaussian):
        return jnp.sum(jnp.tril(q.scale_tril) ** 2, axis=1)
    if isinstance(q, LowRankGaussian):
        return jnp.exp(2 * q.log_scale) + jnp.sum(q.factor**2, axis=1)
    raise InputError(f"DataEmphasisedElbo needs a Gaussian family, for its entropy, got {type(q).__name__}")
