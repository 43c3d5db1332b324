"""Penalties on what the posteriors q(z | x_i) of a minibatch have in common, and the objective that adds them."""

import abc
import math
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import (
    BatchObjective,
    Estimate,
    GradientEstimator,
    InputError,
    PRNGKey,
    Scalar,
    in_batches,
    scalar_field,
)
from jensen.families import DiagonalGaussian
from jensen.vae.objectives import ONE, known_divergence
from jensen.vae.priors import StandardNormal, units_divergence


class Penalty(eqx.Module):
    """A distance of a minibatch's posteriors, as a rule of their mean q_B, from the prior."""

    @abc.abstractmethod
    def penalty(self, key: PRNGKey, qs: Any, prior: Any) -> Float[Array, ""]:
        """`qs`: the densities q(z | x_i) of the rows, each array with a leading axis. Differentiable in both."""


class AggregateElbo(BatchObjective):
    """beta KL(q(z | x) || p) - E_q[log p(x | z)] + w D(q_B(z), p), q_B the aggregate of the minibatch, a row.

    beta = `divergence`, w = `weight`, D = `penalty`. InfoVAE with alpha and lambda is beta = 1 - alpha and
    w = alpha + lambda - 1; MMD-VAE is beta = 0 with `MaximumMeanDiscrepancy`; DG-VAE is beta = 0, w = 1 with
    `DensityGap`, free bits the same with `FreeBits`. D is computed once a minibatch and stands in every row's term; MMD
    and KSD are of the order of one or less where log likelihoods are of hundreds of nats, so that w of 10 to 1,000 is
    meant for them. No evidence is bounded; report another bound beside it. With beta = 0 nothing but D keeps q(z | x)
    from becoming a point.

    Raises `InputError` for beta < 0, and for beta > 0 with q and priors without a closed divergence.

    Source: Zhao, Song and Ermon (2019), InfoVAE; Zhang, Zhang et al. (2022), density gap-based regularisation.
    """

    bound: ClassVar[str | None] = None
    penalty: Penalty
    divergence: Scalar = scalar_field(0.0)
    weight: Scalar = scalar_field(1.0)
    estimator: GradientEstimator = ONE

    def __check_init__(self):
        if not self.divergence >= 0:
            raise InputError(f"The weight of the divergence must not be negative, got {self.divergence}")

    def losses(self, key: PRNGKey, conditional: Any, rows: Any, local: Callable[[Any], Any], num_rows: int) -> Estimate:
        key_rows, key_penalty = jax.random.split(key)
        qs = jax.vmap(conditional.given)(rows)
        prior = local(jax.tree.map(lambda a: a[0], rows)).model.prior
        extra = self.weight * self.penalty.penalty(key_penalty, qs, prior)

        def one(key: PRNGKey, q: Any, row: Any) -> Estimate:
            target = local(row)
            misfit = self.estimator.expectation(key, q, lambda _, z: -target.log_likelihood(z))
            apart = self.divergence * known_divergence(q, target) + extra
            return Estimate(misfit.value + apart, misfit.surrogate + apart, misfit.standard_error)

        held = len(jax.tree.leaves(rows)[0])
        return jax.vmap(one)(jax.random.split(key_rows, held), qs, rows)


class DensityGap(Penalty):
    """sum_j KL(q_B(z_j) || N(0, 1)) by mean over rows i and draws m of log q_B(z_imj) - log N(z_imj; 0, 1), in nats.

    q_B(z_j) = mean_k N(z_j; m_kj, s_kj^2) over the minibatch's rows: each margin of the aggregate by itself. Of E KL =
    I(row; z) + total correlation + margins it leaves the first two free: posteriors may be narrow at no cost, and codes
    may be dependent, which the penalty does not see; watch `latent_use`. With narrow posteriors q_B is rougher than the
    population's q. `num_draws`: M, of each row.

    Raises `InputError` for fewer than one draw, and posteriors that are not diagonal Gaussians.

    Source: Zhang, Zhang et al. (2022), Improving variational autoencoders with density gap-based regularization.
    """

    num_draws: int = eqx.field(static=True, default=32)

    def __check_init__(self):
        if self.num_draws < 1:
            raise InputError(f"num_draws must be at least 1, got {self.num_draws}")

    def penalty(self, key: PRNGKey, qs: Any, prior: Any) -> Float[Array, ""]:
        if not isinstance(qs, DiagonalGaussian):
            raise InputError(f"DensityGap is known for diagonal Gaussian posteriors, got {type(qs).__name__}")
        means, log_scales = qs.mean, qs.log_scale  # (rows, d)
        eps = jax.random.normal(key, (self.num_draws, *means.shape), means.dtype)
        z = means + jnp.exp(log_scales) * eps

        def gap(z: Float[Array, "rows d"]) -> Float[Array, ""]:
            units = -0.5 * ((z[:, None] - means) * jnp.exp(-log_scales)) ** 2 - log_scales
            log_q = jax.nn.logsumexp(units, axis=1) - math.log(len(means))
            return jnp.mean(jnp.sum(log_q + 0.5 * z**2, axis=1))

        return jnp.mean(in_batches(gap, z, 8))


class FreeBits(Penalty):
    """sum_j max(lambda, mean_i KL(q(z_j | x_i) || N(0, 1))), lambda = `nats`: what a unit tells costs nothing below it.

    The mean is over the minibatch's rows. Units that tell less are not pressed, so that none is lost early in training,
    and d units end near d lambda nats a row or above. lambda = 0 is the divergence itself.

    Raises `InputError` for lambda < 0, posteriors that are not diagonal Gaussians, and priors but `StandardNormal`.

    Source: Kingma, Salimans, Jozefowicz et al. (2016), Improved variational inference with inverse autoregressive flow,
    appendix C.8.
    """

    nats: Scalar = scalar_field(0.5)

    def __check_init__(self):
        if not self.nats >= 0:
            raise InputError(f"The nats that are free must not be negative, got {self.nats}")

    def penalty(self, key: PRNGKey, qs: Any, prior: Any) -> Float[Array, ""]:
        if not (isinstance(qs, DiagonalGaussian) and isinstance(prior, StandardNormal)):
            raise InputError(
                "FreeBits is known for diagonal Gaussian posteriors and a standard normal prior, got "
                f"{type(qs).__name__} and {type(prior).__name__}"
            )
        return jnp.sum(jnp.maximum(jnp.mean(units_divergence(qs.mean, qs.log_scale), axis=0), self.nats))


class MaximumMeanDiscrepancy(Penalty):
    """MMD^2(q_B, p) = E k(z, z') + E k(e, e') - 2 E k(z, e), k(a, b) = exp(-|a - b|^2 / (2 h)), without bias.

    One draw z_i of each row, as many e of the prior, pairs i = i' left out. h = `bandwidth`; the number of latents is a
    common choice. Left in, those pairs would add about (1 - E k) / n, a distance that no training removes.

    Raises `InputError` for a bandwidth that is not positive.

    Source: Gretton, Borgwardt, Rasch, Schoelkopf and Smola (2012); Zhao, Song and Ermon (2019).
    """

    bandwidth: Scalar = scalar_field(1.0)

    def __check_init__(self):
        if not self.bandwidth > 0:
            raise InputError(f"The kernel's bandwidth must be positive, got {self.bandwidth}")

    def penalty(self, key: PRNGKey, qs: Any, prior: Any) -> Float[Array, ""]:
        z, e = drawn_pairs(key, qs, prior)
        n = len(z)
        pairs = n * (n - 1)
        within = [(jnp.sum(self._gram(a, a)) - n) / pairs for a in (z, e)]
        return within[0] + within[1] - 2 * jnp.mean(self._gram(z, e))

    def _gram(self, a: Float[Array, "n d"], b: Float[Array, "m d"]) -> Float[Array, "n m"]:
        square = jnp.sum(a**2, 1)[:, None] + jnp.sum(b**2, 1) - 2 * a @ b.T
        return jnp.exp(-0.5 * jnp.maximum(square, 0.0) / self.bandwidth)


class KernelSteinDiscrepancy(Penalty):
    """KSD^2(q_B, p) = E u(z, z'), u = k (s^T s' + (s - s')^T (z - z') / h + d / h - |z - z'|^2 / h^2).

    s = grad log p(z), k(a, b) = exp(-|a - b|^2 / (2 h)); one draw of each row, equal pairs left out, no draws of the
    prior. Blind to modes of p that no row is near. h = `bandwidth`.

    Raises `InputError` for a bandwidth that is not positive.

    Source: Liu, Lee and Jordan (2016); Chwialkowski, Strathmann and Gretton (2016); as one of the divergences of Zhao,
    Song and Ermon (2019).
    """

    bandwidth: Scalar = scalar_field(1.0)

    def __check_init__(self):
        if not self.bandwidth > 0:
            raise InputError(f"The kernel's bandwidth must be positive, got {self.bandwidth}")

    def penalty(self, key: PRNGKey, qs: Any, prior: Any) -> Float[Array, ""]:
        z = drawn_pairs(key, qs, prior)[0]
        s, h = jax.vmap(jax.grad(prior.log_prob))(z), self.bandwidth
        apart = z[:, None] - z
        square = jnp.sum(apart**2, 2)
        crossed = s @ s.T + jnp.sum((s[:, None] - s) * apart, 2) / h + z.shape[1] / h - square / h**2
        u = jnp.exp(-0.5 * square / h) * crossed
        return (jnp.sum(u) - jnp.trace(u)) / (len(z) * (len(z) - 1))


def drawn_pairs(key: PRNGKey, qs: Any, prior: Any) -> tuple[Float[Array, "n d"], Float[Array, "n d"]]:
    """A draw of each row's posterior, and as many of the prior. Raises `InputError` for fewer than two rows."""
    rows = jax.tree.leaves(eqx.filter(qs, eqx.is_array))[0].shape[0]
    if rows < 2:
        raise InputError("A kernel distance of the aggregate posterior wants minibatches of at least two rows")
    key_q, key_p = jax.random.split(key)
    z = jax.vmap(lambda q, k: q.sample(k))(qs, jax.random.split(key_q, rows))
    return z, jax.vmap(prior.sample)(jax.random.split(key_p, rows))
