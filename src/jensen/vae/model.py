"""A latent variable model of rows, and rows seen through it as a target."""

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jensen.core import Compiled, Density, InputError, PRNGKey, Space, Target, Variable, real_space
from jensen.core.compiled import PASSES
from jensen.vae.likelihoods import Likelihood
from jensen.vae.networks import Decoder


class LatentModel(eqx.Module):
    """p(x, z) = prior(z) likelihood(x | decoder(z)): three parts, any of which can be another one.

    `prior`: any `Density`, such as `StandardNormal`, `MixturePrior` or a flow of `families`.
    """

    prior: Density
    decoder: Decoder
    likelihood: Likelihood

    def partition(self) -> tuple["LatentModel", "LatentModel"]:
        """(trainable, rest), as each part says of itself."""
        (prior, prior_rest), (likelihood, likelihood_rest) = self.prior.partition(), self.likelihood.partition()
        decoder, decoder_rest = eqx.partition(self.decoder, eqx.is_inexact_array)
        make: Any = LatentModel
        return make(prior, decoder, likelihood), make(prior_rest, decoder_rest, likelihood_rest)

    def log_likelihood(self, x: Float[Array, " n"], z: Float[Array, " k"]) -> Float[Array, ""]:
        """log p(x | z)."""
        return self.likelihood.log_prob(x, self.decoder(z))

    def seen(self, row: Float[Array, " n"]) -> tuple["LatentModel", Float[Array, " n"]]:
        """The latent model that explains this row, and what it explains of it: itself, all."""
        return self, row

    def sample(self, key: PRNGKey) -> Float[Array, " n"]:
        """A row."""
        key_prior, key_row = jax.random.split(key)
        return self.likelihood.sample(key_row, self.decoder(self.prior.sample(key_prior)))

    def reconstruct(self, z: Float[Array, " k"]) -> Float[Array, " n"]:
        """E[x | z]."""
        return self.likelihood.mean(self.decoder(z))


class RowTarget(Target):
    """log p(x, z) of one row x as a function of its latents z; its evidence is log p(x)."""

    space: Space = eqx.field(static=True)
    model: Any  # a `LatentModel`, or another with a prior over latents
    x: Float[Array, " n"]

    def log_likelihood(self, z: Float[Array, " k"]) -> Float[Array, ""]:
        """log p(x | z)."""
        return self.model.log_likelihood(self.x, z)

    def log_density(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        return self.model.prior.log_prob(z) + self.log_likelihood(z)


def row_target(model: Any, x: Float[Array, " n"]) -> RowTarget:
    """The target of the latents of row x, for a `LatentModel` or what has `seen(row)` as it has."""
    model, x = model.seen(x)
    return RowTarget(real_space(z=(model.prior.dimension,)), model, x)


class LatentRows(Target):
    """Rows x_i under a `LatentModel` whose trainable numbers are the unknowns w: log p(w) + sum_i log p(x_i | w).

    w has a flat prior, so that its mode is the maximum likelihood. Each row has latents of its own (`Locals`), which
    `AmortisedVI` approximates; log p(x_i | w) is not known by itself, and `log_density` is NaN: begin a run at
    `PointPosterior(target.space, target.theta)`. `dynamic` redraws x ~ Bernoulli(x) at each visit of a minibatch
    (dynamic binarisation of grey values, under `Shuffled`).
    """

    space: Space = eqx.field(static=True)
    model: Any  # a `LatentModel`, or what has its `partition` and `seen`
    data: Float[Array, "rows n"]
    num_rows: int = eqx.field(static=True)
    dynamic: bool = eqx.field(static=True, default=False)

    @property
    def theta(self) -> Float[Array, " d"]:
        """The model's trainable numbers as they are."""
        return _joined(jax.tree.leaves(self.model.partition()[0]))

    def at(self, z: Float[Array, " d"]) -> Any:
        """The model with these trainable numbers."""
        trainable, rest = self.model.partition()
        leaves, tree = jax.tree.flatten(trainable)
        made = _divided(self.space, z, tuple(leaf.dtype for leaf in leaves))
        return eqx.combine(jax.tree.unflatten(tree, made), rest)

    def log_prior(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        return jnp.zeros((), z.dtype)

    def local(self, z: Float[Array, " d"], row: Float[Array, " n"]) -> RowTarget:
        return row_target(self.at(z), row)

    def log_density(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        return jnp.full((), jnp.nan, z.dtype)

    def diagnose(self, z: Float[Array, " d"]) -> str:
        return (
            "the likelihood of a latent variable model is an integral that is not computed: "
            "pass start=PointPosterior(target.space, target.theta)"
        )

    def minibatch(self, rows: Int[Array, " b"]) -> "LatentRows":
        return eqx.tree_at(lambda t: t.data, self, self.data[rows])

    def redraw(self, key: PRNGKey) -> "LatentRows":
        """The rows as they are, or drawn anew with their values as probabilities."""
        if not self.dynamic:
            return self
        return eqx.tree_at(lambda t: t.data, self, jax.random.bernoulli(key, self.data).astype(self.data.dtype))


# eagerly, each array would be two programs
@partial(Compiled, small=PASSES)
def _joined(leaves: list[Array]) -> Float[Array, " d"]:
    return jnp.concatenate([jnp.ravel(leaf) for leaf in leaves])


@partial(Compiled, small=PASSES)
def _divided(space: Space, z: Float[Array, " d"], dtypes: tuple[Any, ...]) -> list[Array]:
    return [part.astype(dtype) for part, dtype in zip(space.split(z).values(), dtypes, strict=True)]


def latent_rows(model: Any, X: Float[Array, "rows n"], dynamic: bool = False) -> LatentRows:
    """The target of `model` with rows X. Raises `InputError` where X is no matrix of rows."""
    if X.ndim != 2 or 0 in X.shape:
        raise InputError(f"X must have shape (rows, values), got {X.shape}")
    paths = jax.tree_util.tree_leaves_with_path(model.partition()[0])
    variables = tuple(Variable(jax.tree_util.keystr(path).lstrip("."), leaf.shape) for path, leaf in paths)
    return LatentRows(Space(variables), model, X, X.shape[0], dynamic)
