"""The divergence to the prior in its parts, from minibatches: what each is, and an objective that weighs them."""

import abc
import math
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import BatchObjective, Estimate, InputError, PRNGKey, Scalar, scalar_field
from jensen.families import DiagonalGaussian


class RowWeights(eqx.Module):
    """Weights w_im by which the rows m of a minibatch stand for q(z_i) = (1/N) sum_n q(z_i | x_n), z_i ~ q(. | x_i)."""

    @abc.abstractmethod
    def log_weights(self, batch: int, num_rows: int) -> Float[Array, "b b"]:
        """log w, (draws, rows)."""


class StratifiedWeights(RowWeights):
    """w_ii = 1/N for the row that z_i was drawn from, w_im = (N - 1) / (N (B - 1)) for each of the others.

    sum_m w_im q(z_i | x_m) is an unbiased estimate of the density q(z_i) from a minibatch without replacement. Its
    logarithm is too low on average (Jensen), by less the larger the minibatch.

    Source: Chen, Li, Grosse and Duvenaud (2018), Isolating sources of disentanglement, appendix C.2.
    """

    def log_weights(self, batch: int, num_rows: int) -> Float[Array, "b b"]:
        own = jnp.eye(batch, dtype=bool)
        others = math.log((num_rows - 1) / (num_rows * (batch - 1))) if batch > 1 and num_rows > 1 else -math.inf
        return jnp.where(own, -math.log(num_rows), others).astype(jnp.result_type(float))


class ConstantWeights(RowWeights):
    """w_im = 1 / (N B): a lower bound on E log q(z), low by about log N where posteriors are narrow.

    Joint and d marginals each are low by that much, so that a total correlation comes out too large by about (d - 1)
    log N: its gradient can be used, the number cannot.

    Source: Chen, Li, Grosse and Duvenaud (2018), appendix C.1, minibatch weighted sampling.
    """

    def log_weights(self, batch: int, num_rows: int) -> Float[Array, "b b"]:
        return jnp.full((batch, batch), -math.log(num_rows * batch), jnp.result_type(float))


class AggregateParts(eqx.Module):
    """log q(z_i | x_i) - log p(z_i) of each draw, (rows,), as a sum of three parts, in nats.

    `mutual_information`: log q(z_i | x_i) / q(z_i). `total_correlation`: log q(z_i) / prod_j q(z_ij). `marginals`: log
    prod_j q(z_ij) / p(z_i). Their means estimate I(row; z), KL(q(z) || prod_j q(z_j)) and, for a prior of independent
    units, sum_j KL(q(z_j) || p(z_j)).
    """

    mutual_information: Float[Array, " b"]
    total_correlation: Float[Array, " b"]
    marginals: Float[Array, " b"]


def aggregate_parts(
    qs: Any, z: Float[Array, "b d"], log_prior: Float[Array, " b"], log_weights: Float[Array, "b b"]
) -> AggregateParts:
    """The parts at draws z_i of Gaussian densities q_i (`qs`, leading axis rows); O(B^2 d).

    `log_prior`: log p(z_i). `log_weights`: of `RowWeights`. With all N rows and weights 1/N no more is estimated than
    the expectation over z.
    """
    if isinstance(qs, DiagonalGaussian):
        means, log_scales = qs.mean, qs.log_scale
    else:
        means, covs = jax.vmap(lambda q: q.mean_and_cov())(qs)
        log_scales = 0.5 * jnp.log(jnp.diagonal(covs, axis1=1, axis2=2))
    scaled = (z[:, None] - means) * jnp.exp(-log_scales)  # draw, row, unit
    units = -0.5 * scaled**2 - log_scales - 0.5 * math.log(2 * math.pi)
    if isinstance(qs, DiagonalGaussian):
        joint = jnp.sum(units, -1)
    else:
        joint = jax.vmap(lambda z: jax.vmap(lambda q: q.log_prob(z))(qs))(z)
    own = jnp.diagonal(joint)
    together = jax.nn.logsumexp(log_weights + joint, 1)
    apart = jnp.sum(jax.nn.logsumexp(log_weights[..., None] + units, 1), -1)
    return AggregateParts(own - together, together - apart, apart - log_prior)


class TotalCorrelationElbo(BatchObjective):
    """alpha I(row; z) + beta KL(q(z) || prod_j q(z_j)) + gamma KL(prod_j q(z_j) || p(z)) - E_q[log p(x | z)], in nats.

    alpha = `mutual_information`, beta = `total_correlation`, gamma = `marginals`. All three at one make the negative
    ELBO by one draw a row, exactly. beta > 1 alone asks for independent latents without pressing the information about
    the row out of them, as `BetaElbo` does. q(z) = (1/N) sum_n q(z | x_n) is estimated from the minibatch by `weights`
    at O(B^2 d) a step: use minibatches of a hundred rows or more. No bound is declared.

    Raises `InputError` for weights below zero.

    Source: Chen, Li, Grosse and Duvenaud (2018), Isolating sources of disentanglement in variational autoencoders.
    """

    bound: ClassVar[str | None] = None
    total_correlation: Scalar = scalar_field(4.0)
    mutual_information: Scalar = scalar_field(1.0)
    marginals: Scalar = scalar_field(1.0)
    weights: RowWeights = StratifiedWeights()

    def __check_init__(self):
        for name in ("total_correlation", "mutual_information", "marginals"):
            value = getattr(self, name)
            if not isinstance(value, jax.core.Tracer) and not float(value) >= 0:
                raise InputError(f"The weight {name} must not be negative, got {float(value):g}")

    def losses(self, key: PRNGKey, conditional: Any, rows: Any, local: Callable[[Any], Any], num_rows: int) -> Estimate:
        batch = jax.tree.leaves(rows)[0].shape[0]
        qs = jax.vmap(conditional.given)(rows)
        z = jax.vmap(lambda q, key: q.sample(key))(qs, jax.random.split(key, batch))

        def terms(row: Any, z: Float[Array, " d"]) -> tuple[Float[Array, ""], Float[Array, ""]]:
            target = local(row)
            likelihood = target.log_likelihood(z)
            return likelihood, target.log_density(z) - likelihood

        likelihood, prior = jax.vmap(terms)(rows, z)
        parts = aggregate_parts(qs, z, prior, self.weights.log_weights(batch, num_rows))
        value = (
            self.mutual_information * parts.mutual_information
            + self.total_correlation * parts.total_correlation
            + self.marginals * parts.marginals
            - likelihood
        )
        return jax.vmap(Estimate)(value, value, jnp.full_like(value, jnp.nan))
