"""Encoding without an encoder: the gradient of a row's log likelihood at the origin of the latents."""

from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.amortised import Conditional
from jensen.core import BatchObjective, Density, Estimate, PRNGKey, Scalar, scalar_field
from jensen.vae.model import LatentModel, row_target
from jensen.vae.objectives import SampledLikelihoodElbo, known_divergence
from jensen.vae.priors import StandardNormal


def origin_latents(target: Any, step: Any = 1.0) -> Float[Array, " k"]:
    """z = s grad_z log p(x | z) at z = 0, s = `step`, of the row of `target` (`row_target`).

    The posterior mean of z to first order in s, for a prior N(0, s I). Differentiable in the model's weights.
    """
    return step * jax.grad(target.log_likelihood)(_origin(target))


def origin_context(target: Any, conditional: Any, size: int, step: Any = 1.0) -> Float[Array, " c"]:
    """h = s grad_h (log p(x | E_q z) - KL(q || prior)) at h = 0, q = conditional.given(h), of `size` numbers.

    Without noise, where the authors draw one z: the encoding of a row is a function of the row.
    """

    def climbed(h: Float[Array, " c"]) -> Float[Array, ""]:
        q = conditional.given(h)
        return target.log_likelihood(q.mean_and_cov()[0]) - known_divergence(q, target)

    return step * jax.grad(climbed)(jnp.zeros(size, jnp.result_type(float)))


def _origin(target: Any) -> Float[Array, " k"]:
    return jnp.zeros(target.space.dimension, jnp.result_type(float))


class NoEncoder(Conditional):
    """q(z | x) = N(0, I_k) for every row, nothing trained: the conditional beside `OriginLikelihood`."""

    size: int = eqx.field(static=True)

    @property
    def dimension(self) -> int:
        return self.size

    def given(self, data: Any) -> Density:
        return StandardNormal(self.size)


class OriginLikelihood(BatchObjective):
    """-log p(x | z(x)), z(x) = s grad_z log p(x | z) at z = 0: an autoencoder whose decoder is its own encoder.

    Trained through the inner gradient, at about three times the cost of the decoder's own. The decoder must be curved:
    one of straight pieces (ReLU) gives the inner gradient nothing to learn from. Each row is encoded by itself,
    whatever else is in the minibatch. A log likelihood at a point, and no bound on the evidence. `step`: s.

    Source: Bond-Taylor and Willcocks (2021), Gradient origin networks.
    """

    bound: ClassVar[str | None] = None
    step: Scalar = scalar_field(1.0)

    def losses(self, key: PRNGKey, conditional: Any, rows: Any, local: Callable[[Any], Any], num_rows: int) -> Estimate:
        def one(row: Any) -> Float[Array, ""]:
            target = local(row)
            return -target.log_likelihood(origin_latents(target, self.step))

        value = jax.vmap(one)(rows)
        return jax.vmap(Estimate)(value, value, jnp.zeros_like(value))


class OriginElbo(BatchObjective):
    """KL(q || prior) - E_q[log p(x | z)], q = q(z | h(x)), h(x) the gradient of the same at h = 0 (`origin_context`).

    The conditional maps h, `context` numbers, to a Gaussian: two small linear maps do. Any q gives a lower bound; this
    one needs no encoder. `OriginEncoded` is the same q(z | x) afterwards, for bounds and monitors. `step`: s.

    Raises `InputError` for q and priors without a closed divergence.

    Source: Bond-Taylor and Willcocks (2021), Gradient origin networks, the variational one.
    """

    bound: ClassVar[str | None] = "lower"
    context: int = eqx.field(static=True)
    step: Scalar = scalar_field(1.0)
    objective: SampledLikelihoodElbo = SampledLikelihoodElbo()

    def losses(self, key: PRNGKey, conditional: Any, rows: Any, local: Callable[[Any], Any], num_rows: int) -> Estimate:
        def one(key: PRNGKey, row: Any) -> Estimate:
            target = local(row)
            context = origin_context(target, conditional, self.context, self.step)
            return self.objective.loss(key, conditional.given(context), target)

        return jax.vmap(one)(jax.random.split(key, jax.tree.leaves(rows)[0].shape[0]), rows)


class OriginEncoded(Conditional):
    """q(z | x) = conditional.given(h(x)) of a model trained by `OriginElbo`, with the same `context` and `step`."""

    model: LatentModel
    conditional: Conditional
    context: int = eqx.field(static=True)
    step: Scalar = scalar_field(1.0)

    @property
    def dimension(self) -> int:
        return self.model.prior.dimension

    def given(self, data: Float[Array, " n"]) -> Density:
        target = row_target(self.model, data)
        return self.conditional.given(origin_context(target, self.conditional, self.context, self.step))
