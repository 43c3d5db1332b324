"""Variational inference that knows what its decisions are worth."""

from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jensen.core import GradientEstimator, InputError
from jensen.gradient_estimators import StickingTheLanding
from jensen.objectives._of_log_weights import OfLogWeights


class LossCalibrated(OfLogWeights):
    """-E_q[log p(z, data) + log G(z) - log q(z)], G(z) > 0 the gain of the decisions if z is true; in nats.

    = KL(q || tilted) - log int p(z, data) G(z) dz, tilted the posterior times the gain, normalised.
    Its negative is a lower bound on that log integral, the log evidence plus the log of the expected gain: a
    bound on another integral than the evidence, so that none is declared. q leans from the posterior towards where
    decisions matter; it is the best q for these decisions, not for others. Gains must be positive: add a constant to
    utilities. Given decisions h, `log_gain` may be sum_i log sum_y p(y | x_i, z) u(y, h_i).

    Args:
        log_gain: log G as a function of z (d,) and of `args`; a scalar.
        args: arrays that it takes besides, such as inputs and decisions: new values compile nothing.
        estimator: of the gradient.

    Raises `InputError` if `log_gain` is no function.

    Source: Lacoste-Julien, Huszar and Ghahramani (2011); Cobb, Roberts and Gal (2018).
    """

    bound: ClassVar[str | None] = None
    log_gain: Any = eqx.field(static=True)
    args: tuple[Any, ...] = ()
    estimator: GradientEstimator = StickingTheLanding()
    num_weights: int = eqx.field(static=True, default=1, init=False)

    def __check_init__(self):
        if not callable(self.log_gain):
            raise InputError(f"log_gain must be a function of z, got {type(self.log_gain).__name__}")

    def phi(self, log_w: Float[Array, " k"]) -> Float[Array, ""]:
        return -log_w[0]

    def log_density(self, target: Any) -> Callable[[Float[Array, " d"]], Float[Array, ""]]:
        return lambda z: target.log_density(z) + self.log_gain(z, *self.args)


def bayes_action(probabilities: Float[Array, "*n y"], utility: Float[Array, "outcomes a"]) -> Int[Array, "*n"]:
    """The action of greatest expected utility: argmax_a sum_y p(y) u(y, a), of each row.

    `probabilities`: predictive, already averaged over the posterior. `utility`: u(y, a), of any sign.

    Raises `InputError` where the shapes do not agree.
    """
    if utility.ndim != 2 or probabilities.shape[-1] != utility.shape[0]:
        raise InputError(f"probabilities {probabilities.shape} and utility {utility.shape} do not agree on outcomes")
    return jnp.argmax(probabilities @ utility, axis=-1)
