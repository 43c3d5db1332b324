"""Variational autoencoders with latents on a manifold: Brownian motion as the posterior family."""

import math
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.amortised import Head
from jensen.core import (
    Density,
    Estimate,
    GradientEstimator,
    InputError,
    Objective,
    PRNGKey,
    Reparameterised,
    Scalar,
    scalar_field,
)
from jensen.gradient_estimators import Reparameterisation
from jensen.vae.manifolds import Manifold
from jensen.vae.networks import Decoder

ONE = Reparameterisation(num_draws=1)
MARGIN = 1e-9  # nats that rounding may take off a divergence


class UniformOn(Density):
    """p(z) = 1 / volume on a manifold, per unit of its volume; `dimension` is that of the space R^m around it."""

    manifold: Manifold

    @property
    def dimension(self) -> int:
        return self.manifold.ambient

    def sample(self, key: PRNGKey) -> Float[Array, " m"]:
        return self.manifold.sample(key)

    def log_prob(self, z: Float[Array, " m"]) -> Float[Array, ""]:
        return jnp.full((), -self.manifold.log_volume, z.dtype)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "UniformOn":
        raise InputError("A density on a manifold is not stored by its numbers alone: build it anew")


class BrownianMotion(Reparameterised):
    """q(z) = p_t(z | mean), the law of Brownian motion after a time t, from `mean` on a manifold, log t = `log_time`.

    Drawn by a walk of N = `steps`, z <- P(z + sqrt(t / N) eps), eps ~ N(0, I_m), P the projection: right up to
    O(t / N), a bias of some thousandths for t below 0.2 and N = 10. `log_prob` is the heat kernel to leading order in
    t, per unit of volume (see the manifold's `log_heat_kernel`).

    Source: Perez Rey, Menkovski and Portegies (2020), Diffusion variational autoencoders.
    """

    manifold: Manifold
    mean: Float[Array, " m"]
    log_time: Float[Array, ""]
    steps: int = eqx.field(static=True, default=10)

    @property
    def dimension(self) -> int:
        return self.manifold.ambient

    def noise(self, key: PRNGKey) -> Float[Array, "steps m"]:
        return jax.random.normal(key, (self.steps, self.dimension), jnp.result_type(float))

    def from_noise(self, eps: Float[Array, "steps m"]) -> Float[Array, " m"]:
        length = jnp.exp(0.5 * self.log_time) / math.sqrt(self.steps)

        def step(z: Array, e: Array) -> tuple[Array, None]:
            return self.manifold.project(z + length * e.astype(z.dtype)), None

        return jax.lax.scan(step, self.mean, eps)[0]

    def log_prob(self, z: Float[Array, " m"]) -> Float[Array, ""]:
        return self.manifold.log_heat_kernel(self.mean, z, jnp.exp(self.log_time))

    def divergence_from_uniform(self) -> Float[Array, ""]:
        """KL(q || uniform) by `heat_kernel_divergence`, in nats."""
        return heat_kernel_divergence(self.manifold, self.mean, jnp.exp(self.log_time))

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "BrownianMotion":
        raise InputError("A density on a manifold is not stored by its numbers alone: build it anew")


def heat_kernel_divergence(manifold: Manifold, z: Float[Array, " m"], t: Float[Array, ""]) -> Float[Array, ""]:
    """KL(p_t(. | z) || uniform) = log Vol - d/2 log(2 pi t) - d/2 + Scal(z) t / 4 + O(t^2), in nats.

    For small t alone: on S^2 wrong by 6e-4 at t = 0.2, on S^3 by 8e-3 at 0.3; where t is large it can be negative.

    Source: Perez Rey, Menkovski and Portegies (2020).
    """
    d = manifold.dimension
    return manifold.log_volume - 0.5 * d * (jnp.log(2 * math.pi * t) + 1) + 0.25 * manifold.scalar_curvature(z) * t


class BrownianHead(Head):
    """q(z | x) = `BrownianMotion` from P(c_1..m) for a time t, log t = middle + half tanh(c_(m+1)), m + 1 numbers c.

    t stays between `shortest` and `longest`, where the expansion of its divergence holds. Raises `InputError` unless
    0 < shortest < longest, and where the divergence of the longest time comes out negative.
    """

    manifold: Manifold
    shortest: float = eqx.field(static=True, default=math.exp(-7.5))
    longest: float = eqx.field(static=True, default=math.exp(-5.0))
    steps: int = eqx.field(static=True, default=10)

    def __check_init__(self):
        if not 0 < self.shortest < self.longest or self.steps < 1:
            raise InputError(
                f"Times must be 0 < shortest < longest in 1 or more steps, got {self.shortest}, {self.longest} and "
                f"{self.steps} steps"
            )
        d, curvature = self.manifold.dimension, self.manifold.least_curvature
        worst = min(self.longest, 2 * d / curvature) if curvature > 0 else self.longest
        least = self.manifold.log_volume - 0.5 * d * (math.log(2 * math.pi * worst) + 1) + 0.25 * curvature * worst
        if least < -MARGIN:
            raise InputError(
                f"At t = {worst:g} the divergence of a Brownian motion on {type(self.manifold).__name__} would be "
                f"{least:.3g}: its expansion holds for small times alone; take a smaller `longest`"
            )

    @property
    def dimension(self) -> int:
        return self.manifold.ambient

    @property
    def context(self) -> int:
        """Numbers that the encoder gives."""
        return self.manifold.ambient + 1

    def density(self, context: Float[Array, " c"]) -> BrownianMotion:
        low, high = math.log(self.shortest), math.log(self.longest)
        log_time = 0.5 * (low + high) + 0.5 * (high - low) * jnp.tanh(context[-1])
        return BrownianMotion(self.manifold, self.manifold.project(context[:-1]), log_time, self.steps)


class BrownianElbo(Objective):
    """loss = weight KL(q || uniform) - E_q[log p(x | z)], the divergence by its expansion in small times.

    q a `BrownianMotion`. No bound is declared: divergence and draws are right up to O(t) and O(t / steps) alone.

    Raises `InputError` for another q or prior.

    Source: Perez Rey, Menkovski and Portegies (2020), Diffusion variational autoencoders.
    """

    bound: ClassVar[str | None] = None
    weight: Scalar = scalar_field(1.0)
    estimator: GradientEstimator = ONE

    def loss(self, key: PRNGKey, q: Any, target: Any) -> Estimate:
        if not isinstance(q, BrownianMotion) or not isinstance(target.model.prior, UniformOn):
            raise InputError(
                f"BrownianElbo wants a BrownianMotion and a UniformOn prior, got {type(q).__name__} and "
                f"{type(target.model.prior).__name__}: take BrownianHead and UniformOn of one manifold"
            )
        divergence = self.weight * q.divergence_from_uniform()
        misfit = self.estimator.expectation(key, q, lambda _, z: -target.log_likelihood(z))
        return Estimate(divergence + misfit.value, divergence + misfit.surrogate, misfit.standard_error)


class Symmetrised(Decoder):
    """raw = (f(z) + f(-z)) / 2: an even decoder, for latents in a `ProjectiveSpace`."""

    decoder: Decoder

    def __call__(self, z: Float[Array, " k"]) -> Float[Array, "n p"]:
        return 0.5 * (self.decoder(z) + self.decoder(-z))
