"""Bounds of a row that know part of the integral in closed form."""

import math
from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import Estimate, GradientEstimator, InputError, Objective, PRNGKey, Scalar, scalar_field
from jensen.gradient_estimators import Reparameterisation
from jensen.vae.likelihoods import Gaussian
from jensen.vae.networks import LinearDecoder
from jensen.vae.priors import closed_divergence

ONE = Reparameterisation(num_draws=1)


class SampledLikelihoodElbo(Objective):
    """-ELBO = KL(q || prior) - E_q[log p(x | z)], the divergence in closed form, the rest by draws of `estimator`.

    Less noisy than `NegativeElbo` while q is far from the posterior, and noisier once it is near: there the noise of
    the two parts would cancel. Wants a Gaussian q and a standard normal prior.

    Raises `InputError` for other q and priors.

    Source: Kingma and Welling (2014), their second estimator.
    """

    bound: ClassVar[str | None] = "lower"
    estimator: GradientEstimator = ONE

    def loss(self, key: PRNGKey, q: Any, target: Any) -> Estimate:
        return weighted_loss(self, 1.0, key, q, target)


class BetaElbo(Objective):
    """beta KL(q || prior) - E_q[log p(x | z)], beta = `weight` > 0, the divergence in closed form where it is known.

    beta > 1 presses information out of the latents, beta < 1 lets more in; no bound on the evidence is declared. With a
    Gaussian likelihood of fixed scale sigma, beta is nothing but another scale: sigma^2 beta.

    Raises `InputError` for a weight that is not positive, and for q and priors without a closed divergence.

    Source: Higgins, Matthey, Pal et al. (2017), beta-VAE.
    """

    bound: ClassVar[str | None] = None
    weight: Scalar = scalar_field(1.0)
    estimator: GradientEstimator = ONE

    def loss(self, key: PRNGKey, q: Any, target: Any) -> Estimate:
        return weighted_loss(self, self.weight, key, q, target)


def weighted_loss(objective: Any, weight: Any, key: PRNGKey, q: Any, target: Any) -> Estimate:
    """weight KL(q || prior) - E_q[log p(x | z)]."""
    divergence = weight * known_divergence(q, target)
    misfit = objective.estimator.expectation(key, q, lambda _, z: -target.log_likelihood(z))
    return Estimate(divergence + misfit.value, divergence + misfit.surrogate, misfit.standard_error)


def known_divergence(q: Any, target: Any) -> Float[Array, ""]:
    """KL(q || prior of the row's model) in nats. Raises `InputError` where it has no closed form."""
    known = closed_divergence(q, target.model.prior)
    if known is None:
        raise InputError(
            f"No closed form of KL({type(q).__name__} || {type(target.model.prior).__name__}): use "
            "objectives.NegativeElbo(), which takes any pair"
        )
    return known


def closed_misfit(x: Float[Array, " n"], decoder: LinearDecoder, likelihood: Gaussian, q: Any) -> Float[Array, ""]:
    """E_q[-log N(x; W z + b, diag(sigma^2))] = 1/2 sum_i ((x - W m - b)_i^2 + (W S W^T)_ii) / sigma_i^2 + log terms.

    For any q with mean m and covariance S, be its latents real, bits or one of several.
    """
    log_scale = jnp.broadcast_to(likelihood.log_scale, x.shape)
    mean, cov = q.mean_and_cov()
    w = decoder.weight
    squares = (x - decoder(mean)[:, 0]) ** 2 + jnp.sum((w @ cov) * w, axis=1)
    return jnp.sum(0.5 * squares * jnp.exp(-2 * log_scale) + log_scale + 0.5 * math.log(2 * math.pi))


class ClosedGaussianElbo(Objective):
    """-ELBO of a linear Gaussian decoder, all in closed form: a gradient without Monte Carlo noise.

    E_q |x - W z - b|^2 = |x - W m - b|^2 + tr(W S W^T) for q with mean m and covariance S, x ~ N(W z + b, sigma^2 I).
    `weight`, beta, multiplies the divergence; a lower bound for beta >= 1 alone, and none is declared but for one.

    Raises `InputError` for another decoder or likelihood.

    Source: Lucas, Tucker, Grosse and Norouzi (2019), Don't blame the ELBO!; as "silent gradients": arXiv 2508.03587.
    """

    bound: ClassVar[str | None] = None
    weight: Scalar = scalar_field(1.0)

    def loss(self, key: PRNGKey, q: Any, target: Any) -> Estimate:
        model = target.model
        if not isinstance(model.decoder, LinearDecoder) or not isinstance(model.likelihood, Gaussian):
            raise InputError(
                f"{type(self).__name__} knows LinearDecoder with a Gaussian likelihood alone, got "
                f"{type(model.decoder).__name__} and {type(model.likelihood).__name__}"
            )
        misfit = closed_misfit(target.x, model.decoder, model.likelihood, q)
        value = self.weight * known_divergence(q, target) + misfit
        return Estimate(value, value, jnp.zeros_like(value))
