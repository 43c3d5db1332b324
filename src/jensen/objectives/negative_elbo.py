"""The negative evidence lower bound."""

from typing import ClassVar

import equinox as eqx
from jaxtyping import Array, Float

from jensen.core import GradientEstimator
from jensen.gradient_estimators import StickingTheLanding
from jensen.objectives._of_log_weights import OfLogWeights


class NegativeElbo(OfLogWeights):
    """-ELBO(q) = E_q[log q(z) - log p(z, data)] = KL(q || posterior) - log evidence, in nats.

    Its negative is a lower bound on the log evidence, for the very p that is passed: a minibatch estimates it without
    bias. Cost: the draws of `estimator`, each one gradient of log p. Mass is missed rather than added: q is narrower
    than p where it cannot match it, and may settle on one of several modes.

    Source: Jordan, Ghahramani, Jaakkola and Saul (1999); by draws: Ranganath, Gerrish and Blei (2014).
    """

    bound: ClassVar[str | None] = "lower"
    estimator: GradientEstimator = StickingTheLanding()
    num_weights: int = eqx.field(static=True, default=1, init=False)

    def phi(self, log_w: Float[Array, " k"]) -> Float[Array, ""]:
        return -log_w[0]
