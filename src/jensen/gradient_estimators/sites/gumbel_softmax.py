"""Binary sites, relaxed."""

from typing import Any

import jax
import jax.numpy as jnp

from jensen.core import PRNGKey, Scalar, scalar_field
from jensen.gradient_estimators.sites._base import Draw, Drawing, plain, refusal


class GumbelSoftmax(Drawing):
    """x = sigmoid((logit p + g) / tau), g logistic: a Bernoulli draw relaxed to (0, 1), differentiable in p.

    Biased: the gradient, and the value of the objective, are those of a model evaluated between its whole numbers,
    which tends to the true one as the temperature tau tends to zero, where the variance grows without bound. For a
    model that is defined there (no indexing by x, no `where(x == 1)`), seen through `targets.Relaxed`: any other target
    rounds x and passes no gradient. `MeasureValued` and `Enumeration` are unbiased, and cost one run more.

    Raises `InputError` for any distribution but Bernoulli.

    Source: Maddison, Mnih and Teh (2017); Jang, Gu and Poole (2017).
    """

    temperature: Scalar = scalar_field(0.5)

    def check(self, name: str, fn: Any) -> None:
        if type(plain(fn)).__name__ not in ("BernoulliProbs", "BernoulliLogits"):
            raise refusal(self, name, fn, "Bernoulli")

    def draw(self, key: PRNGKey, fn: Any) -> Draw:
        noise = jax.random.logistic(key, fn.shape(), jnp.result_type(float))
        return Draw(jax.nn.sigmoid((plain(fn).logits + noise) / self.temperature))
