"""Coins and categories, relaxed."""

from typing import Any

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp

from jensen.core import InputError, PRNGKey, Scalar, scalar_field
from jensen.gradient_estimators.sites._base import Draw, Drawing, one_hot_logits, plain, refusal


class GumbelSoftmax(Drawing):
    """x = softmax((log p + g) / tau), g Gumbel: a one-hot draw relaxed to the simplex, differentiable in p.

    Of a coin x = sigmoid((logit p + g) / tau), g logistic. Biased: the gradient, and the value of the objective, are
    those of a model evaluated between its vertices. As the temperature tau tends to zero they tend to the true ones,
    with an error of order tau, while the variance grows like 1 / tau. With `hard` (straight-through) the model is
    evaluated at the vertex next to x, which is an exact draw, with the slope of x: the value of the objective is then
    unbiased. The gradient tends to the mean of the cost's slopes at both ends of an edge in place of the difference of
    its values, which are the same for costs quadratic in x: for others its bias does not vanish with tau.

    For a model that is defined between the vertices (no indexing by x, no `where(x == 1)`), seen through
    `targets.Relaxed`: any other target rounds x and passes no gradient. An index (Categorical) has nothing between its
    whole numbers: write such a site as `targets.OneHotCategorical`, in model and guide. `Enumeration` and
    `MeasureValued` are unbiased, at the cost of a run a value.

    Raises `InputError` for any distribution but Bernoulli and one-hot vectors, or a temperature of zero or less.

    Source: Maddison, Mnih and Teh (2017); Jang, Gu and Poole (2017); straight-through: Bengio, Léonard and Courville
    (2013).
    """

    temperature: Scalar = scalar_field(0.5)
    hard: bool = eqx.field(static=True, default=False)

    def __check_init__(self):
        if not isinstance(self.temperature, jax.core.Tracer) and not float(self.temperature) > 0:
            raise InputError(f"The temperature must be positive, got {self.temperature}")

    def check(self, name: str, fn: Any) -> None:
        kind = type(plain(fn)).__name__
        if kind in ("CategoricalProbs", "CategoricalLogits"):
            raise InputError(
                f"GumbelSoftmax takes Bernoulli and OneHotCategorical; site {name!r} is a {kind}, an index, which has "
                "nothing between its whole numbers: write it as jensen.targets.OneHotCategorical in model and guide, "
                "or use Enumeration(), which is unbiased"
            )
        if kind not in ("BernoulliProbs", "BernoulliLogits") and one_hot_logits(fn) is None:
            raise refusal(self, name, fn, "Bernoulli and OneHotCategorical")

    def draw(self, key: PRNGKey, fn: Any) -> Draw:
        real, logits = jnp.result_type(float), one_hot_logits(fn)
        if logits is None:
            moved = plain(fn).logits + jax.random.logistic(key, fn.shape(), real)
            soft, vertex = jax.nn.sigmoid(moved / self.temperature), (moved > 0).astype(real)
        else:
            moved = logits + jax.random.gumbel(key, fn.shape(), real)
            soft = jax.nn.softmax(moved / self.temperature)
            vertex = jax.nn.one_hot(jnp.argmax(moved, axis=-1), moved.shape[-1], dtype=real)
        # exactly the vertex, with the slope of the soft value
        return Draw(jax.lax.stop_gradient(vertex) + (soft - jax.lax.stop_gradient(soft)) if self.hard else soft)
