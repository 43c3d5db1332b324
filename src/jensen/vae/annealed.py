"""An ELBO whose divergence is let in step by step."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp

from jensen.core import Clock, Estimate, GradientEstimator, InputError, Objective, PRNGKey, Scalar, scalar_field
from jensen.vae.objectives import ONE, weighted_loss


class AnnealedElbo(Objective):
    """beta_t KL(q || prior) - E_q[log p(x | z)], beta_t = min(`weight`, t / `rise`) at step t of a run.

    The latents are put to use before the divergence can empty them; a `weight` below one, where beta_t stops, presses
    less than the ELBO does and often predicts better. By itself, and on held-out rows, the value is that at the last
    beta, `weight`; `AmortisedVI` asks for that of each step by `at(clock)`. A lower bound at weight one alone, and none
    is declared.

    Raises `InputError` for a weight or a rise that is not positive, and for q and priors without a closed divergence.

    Source: Bowman, Vilnis et al. (2016), Generating sentences; with a cap below one: Liang, Krishnan, Hoffman and
    Jebara (2018).
    """

    bound: ClassVar[str | None] = None
    weight: Scalar = scalar_field(1.0)
    rise: Scalar = scalar_field(1000.0)
    reached: Scalar = scalar_field(1.0)
    estimator: GradientEstimator = ONE

    def __check_init__(self):
        for name in ("weight", "rise"):
            value = getattr(self, name)
            if not isinstance(value, jax.core.Tracer) and not float(value) > 0:
                raise InputError(f"{name} must be positive, got {float(value):g}")

    def at(self, clock: Clock) -> "AnnealedElbo":
        """The objective of this step."""
        reached = jnp.minimum(1.0, clock.t / (self.rise * self.weight)).astype(self.weight.dtype)
        return eqx.tree_at(lambda o: o.reached, self, reached)

    def loss(self, key: PRNGKey, q: Any, target: Any) -> Estimate:
        return weighted_loss(self, self.reached * self.weight, key, q, target)
