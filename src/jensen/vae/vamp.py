"""A prior that is the encoder's own aggregate posterior over learned pseudo-inputs, and its objective."""

import math
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.algorithms.amortised_vi import WHOLE
from jensen.core import BatchObjective, Clock, Density, Estimate, InputError, Objective, PRNGKey
from jensen.objectives import NegativeElbo


class VampPrior(Density):
    """p(z) = 1/K sum_k q(z | u_k): the best prior of an ELBO is the aggregate posterior, here over K learned rows u_k.

    `inputs`: the pseudo-inputs u, trained; no more than rows are made of, they may leave the data's support. `parts`:
    the densities q(. | u_k), as of the conditional that the prior was last `tied` to; they follow it while `TiedPrior`
    trains, and are not unknowns of their own. `train` sees to both. K of some hundreds is common on images.

    Source: Tomczak and Welling (2018), VAE with a VampPrior.
    """

    inputs: Float[Array, "k n"]
    parts: Any
    size: int = eqx.field(static=True)

    @property
    def dimension(self) -> int:
        return self.size

    def sample(self, key: PRNGKey) -> Float[Array, " d"]:
        key_part, key_draw = jax.random.split(key)
        k = jax.random.randint(key_part, (), 0, len(self.inputs))
        return jax.tree.map(lambda a: a[k] if eqx.is_array(a) else a, self.parts).sample(key_draw)

    def log_prob(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        each = eqx.filter_vmap(lambda q: q.log_prob(z))(self.parts)
        return jax.nn.logsumexp(each) - math.log(len(self.inputs))

    def tied(self, conditional: Any) -> "VampPrior":
        """With the densities that `conditional` gives the pseudo-inputs."""
        make: Any = type(self)
        return make(self.inputs, eqx.filter_vmap(conditional.given)(self.inputs), self.size)

    def partition(self) -> tuple["VampPrior", "VampPrior"]:
        """The pseudo-inputs are trained, their densities follow."""
        chosen = eqx.tree_at(lambda p: p.inputs, jax.tree.map(lambda _: False, self), True)
        return eqx.partition(self, chosen)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "VampPrior":
        raise InputError("A VampPrior is not saved as such: save the autoencoder (VAE.save), which holds its encoder")


class PseudoInputs(eqx.Module):
    """A `VampPrior` of `components` rows drawn from the data, once there is a conditional: see `at`."""

    key: PRNGKey
    dimension: int = eqx.field(static=True)
    components: int = eqx.field(static=True)

    def at(self, conditional: Any, X: Float[Array, "rows n"]) -> VampPrior:
        """The prior of this conditional."""
        return vamp_prior(self.key, conditional, X, self.components)


class TiedPrior(BatchObjective):
    """`objective` of each row under the prior that is tied to the conditional as it is: gradients go through both.

    For models whose prior is a `VampPrior`. Where `objective` bounds the evidence of a model with any prior, so does
    this; none is declared. The densities of the pseudo-inputs are made once a minibatch.

    Raises `InputError` for another prior, and for estimators whose gradient holds for q alone (doubly
    reparameterised, path), since q is part of the model here.
    """

    bound: ClassVar[str | None] = None
    objective: Objective | BatchObjective = NegativeElbo()

    def __check_init__(self):
        estimator = getattr(self.objective, "estimator", None)
        if estimator is not None and not isinstance(estimator, WHOLE):
            raise InputError(
                f"The gradient of {type(estimator).__name__} is q's alone, and under a tied prior q is part of the "
                "model: take Reparameterisation"
            )

    def at(self, clock: Clock) -> "TiedPrior":
        """With the objective of this step."""
        return eqx.tree_at(lambda o: o.objective, self, self.objective.at(clock))

    def losses(self, key: PRNGKey, conditional: Any, rows: Any, local: Callable[[Any], Any], num_rows: int) -> Estimate:
        prior = local(jax.tree.map(lambda a: a[0], rows)).model.prior
        if not isinstance(prior, VampPrior):
            raise InputError(f"TiedPrior wants a model with a VampPrior, got {type(prior).__name__}")
        prior = prior.tied(conditional)

        def seen(row: Any) -> Any:
            return eqx.tree_at(lambda t: t.model.prior, local(row), prior)

        if isinstance(self.objective, BatchObjective):
            return self.objective.losses(key, conditional, rows, seen, num_rows)
        objective = self.objective

        def one(key: PRNGKey, row: Any) -> Estimate:
            return objective.loss(key, conditional.given(row), seen(row))

        return jax.vmap(one)(jax.random.split(key, jax.tree.leaves(rows)[0].shape[0]), rows)


def vamp_prior(key: PRNGKey, conditional: Any, X: Float[Array, "rows n"], components: int) -> VampPrior:
    """K = `components` pseudo-inputs begun at rows of X, drawn without replacement while there are enough.

    Raises `InputError` for fewer than one, and where X is no matrix of rows.
    """
    if components < 1 or X.ndim != 2 or 0 in X.shape:
        raise InputError(f"A VampPrior wants rows of data and at least one component, got {X.shape} and {components}")
    chosen = jax.random.choice(key, len(X), (components,), replace=components > len(X))
    make: Any = VampPrior
    inputs = jnp.asarray(X, jnp.result_type(float))[chosen]
    return make(inputs, None, conditional.dimension).tied(conditional)
