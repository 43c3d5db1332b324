"""Sites whose gradient is that of their log density."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import PRNGKey
from jensen.gradient_estimators.sites._base import Draw, Drawing


class ScoreFunction(Drawing):
    """grad E[C(x)] = E[(C(x) - b) grad log q(x) + grad C]: for every site that has a density, discrete or continuous.

    C is the whole cost that follows. b is the mean of C over the other draws of the estimator (leave-one-out), or
    `baseline`: a scalar of your own, which must not depend on x. A baseline that holds parameters of the guide is
    trained along, by (C - b)^2 / 2: `learned_baseline("name")` makes a constant one, a network of earlier draws (under
    `stop_gradient`) one that depends on them. Its variance is the highest of all: for large discrete supports and for
    costs that are not differentiable.

    Source: Williams (1992); Mnih and Gregor (2014); leave-one-out: Kool, van Hoof and Welling (2019).
    """

    baseline: Float[Array, ""] | None = None

    def check(self, name: str, fn: Any) -> None:
        """Every distribution has a log density."""

    def draw(self, key: PRNGKey, fn: Any) -> Draw:
        x = jax.lax.stop_gradient(fn.sample(key))
        return Draw(x, jnp.sum(fn.log_prob(x)), self.baseline)


def learned_baseline(name: str, start: float = 0.0) -> Float[Array, ""]:
    """b = sinh(u), u a parameter `name` of the guide: Adam's steps, blind to scale, reach large b through it."""
    import numpyro

    u: Any = numpyro.param(name, jnp.arcsinh(jnp.asarray(start, jnp.result_type(float))))
    return jnp.sinh(u)
