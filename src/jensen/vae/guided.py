"""A linear decoder beside the real one, whose exact gradient leads the encoder at first."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import Clock, Estimate, GradientEstimator, InputError, Objective, PRNGKey, Scalar, scalar_field
from jensen.vae.likelihoods import Gaussian
from jensen.vae.networks import Decoder, LinearDecoder
from jensen.vae.objectives import ONE, closed_misfit, known_divergence


class GuidedDecoder(Decoder):
    """raw = decoder(z), with a `guide` W z + b beside it and the guide's noise scale; only `GuidedElbo` uses these."""

    decoder: Decoder
    guide: LinearDecoder
    log_scale: Float[Array, ""]

    def __call__(self, z: Float[Array, " k"]) -> Float[Array, "n p"]:
        return self.decoder(z)


class GuidedElbo(Objective):
    """a_t (-ELBO of the guide) + (1 - a_t) (-ELBO) for the encoder, a_t = max(0, 1 - t / `fall`); each decoder its own.

    The guide is linear and Gaussian, so that its term and gradient are exact (`ClosedGaussianElbo`): early on the
    encoder follows a gradient without noise, later that of the real decoder by `estimator`. The value is -ELBO of the
    real model, with `weight` times the divergence. Outside of a run a_t = 0: nothing is left of the guide.

    Raises `InputError` for a decoder without a guide, a `fall` that is not positive, and for q and priors without a
    closed divergence.

    Source: Zero-variance gradients for variational autoencoders (2025), arXiv 2508.03587, "silent gradients"; the
    schedule is ours.
    """

    bound: ClassVar[str | None] = None
    fall: Scalar = scalar_field(1000.0)
    weight: Scalar = scalar_field(1.0)
    share: Scalar = scalar_field(0.0)
    estimator: GradientEstimator = ONE

    def __check_init__(self):
        if not self.fall > 0:
            raise InputError(f"The steps over which the guide's share falls must be positive, got {self.fall}")

    def at(self, clock: Clock) -> "GuidedElbo":
        """The objective of this step."""
        share = jnp.maximum(0.0, 1 - clock.t / self.fall).astype(self.share.dtype)
        return eqx.tree_at(lambda o: o.share, self, share)

    def loss(self, key: PRNGKey, q: Any, target: Any) -> Estimate:
        decoder = target.model.decoder
        if not isinstance(decoder, GuidedDecoder):
            raise InputError(f"GuidedElbo wants a GuidedDecoder, got {type(decoder).__name__}")
        divergence = self.weight * known_divergence(q, target)

        def guided(q: Any, decoder: GuidedDecoder) -> Float[Array, ""]:
            return closed_misfit(target.x, decoder.guide, Gaussian(decoder.log_scale), q)

        real = self.estimator.expectation(key, q, lambda _, z: -_fixed(target).log_likelihood(z))
        its_own = self.estimator.expectation(key, _stopped(q), lambda _, z: -target.log_likelihood(z))
        encoder = self.share * guided(q, _stopped(decoder)) + (1 - self.share) * real.surrogate
        decoders = its_own.surrogate + guided(_stopped(q), decoder)
        value = divergence + real.value
        return Estimate(value, divergence + encoder + decoders, real.standard_error)


def _stopped(tree: Any) -> Any:
    return jax.tree.map(lambda a: jax.lax.stop_gradient(a) if eqx.is_inexact_array(a) else a, tree)


def _fixed(target: Any) -> Any:
    return eqx.tree_at(lambda t: t.model, target, _stopped(target.model))
