"""The ELBO with the likelihood to a power."""

from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
from jaxtyping import Array, Float

from jensen.core import GradientEstimator, MissingCapability, Rows, Scalar, scalar_field
from jensen.gradient_estimators import StickingTheLanding
from jensen.objectives._of_log_weights import OfLogWeights, check_setting


class TemperedElbo(OfLogWeights):
    """KL(q || prior) - k E_q[log likelihood(z)], k = `emphasis` > 0; in nats.

    = KL(q || p_k) less the log normaliser of p_k(z), proportional to prior(z) likelihood(z)^k. For k < 1 a posterior
    that trusts the data less (of a model that is wrong), for k > 1 a cold one. k = 1 is `NegativeElbo`. For any other k
    it is no bound on the evidence, and none is declared. A minibatch estimates it without bias.

    Raises `MissingCapability` for a target without rows, which cannot tell prior from likelihood; `InputError` for k <=
    0.

    Source: Bissiri, Holmes and Walker (2016); as an annealed bound: Higgins et al. (2017).
    """

    needs: ClassVar[Any] = Rows
    bound: ClassVar[str | None] = None
    emphasis: Scalar = scalar_field(0.5)
    estimator: GradientEstimator = StickingTheLanding()
    num_weights: int = eqx.field(static=True, default=1, init=False)

    def __check_init__(self):
        check_setting("emphasis", self.emphasis, lambda k: k > 0, "positive")

    def phi(self, log_w: Float[Array, " k"]) -> Float[Array, ""]:
        return -log_w[0]

    def log_density(self, target: Any) -> Callable[[Float[Array, " d"]], Float[Array, ""]]:
        check_rows(self, target)

        def tempered(z: Float[Array, " d"]) -> Float[Array, ""]:
            prior = target.log_prior(z)
            # by difference, for the target alone knows by how much its rows stand for others
            return prior + self.emphasis.astype(z.dtype) * (target.log_density(z) - prior)

        return tempered


def check_rows(objective: Any, target: Any) -> None:
    """Raises `MissingCapability` where a target cannot tell its prior from its likelihood."""
    if not isinstance(target, Rows):
        raise MissingCapability(
            f"{type(objective).__name__} weighs the likelihood against the prior, and {type(target).__name__} does not "
            "tell them apart: build the target with targets.from_rows, or from a model with one plate of observations"
        )
