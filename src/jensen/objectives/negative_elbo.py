"""The negative evidence lower bound."""

from typing import Any, ClassVar

from jensen.core import Estimate, GradientEstimator, LogDensity, Objective, PRNGKey
from jensen.gradient_estimators import StickingTheLanding


class NegativeElbo(Objective):
    """-ELBO(q) = E_q[log q(z) - log p(z, data)] = KL(q || posterior) - log evidence, in nats.

    Its negative is a lower bound on the log evidence, for the very p that is passed: a minibatch estimates it without
    bias.
    Cost: the draws of `estimator`, each one gradient of log p. Mass is missed rather than added: q is narrower than p
    where it cannot match it, and may settle on one of several modes.

    Source: Jordan, Ghahramani, Jaakkola and Saul (1999); by draws: Ranganath, Gerrish and Blei (2014).
    """

    needs: ClassVar[Any] = LogDensity
    bound: ClassVar[str | None] = "lower"
    estimator: GradientEstimator = StickingTheLanding()

    def loss(self, key: PRNGKey, q: Any, target: Any) -> Estimate:
        return self.estimator.expectation(key, q, lambda q, z: q.log_prob(z) - target.log_density(z))
