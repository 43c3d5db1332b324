"""Rows of clicks: an encoder that forgets part of them while it is trained, and the multinomial model."""

from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jensen.amortised import Conditional, Encoder, Head
from jensen.core import BatchObjective, Clock, Density, Estimate, InputError, Objective, PRNGKey
from jensen.vae.annealed import AnnealedElbo
from jensen.vae.heads import MeanField
from jensen.vae.likelihoods import Multinomial
from jensen.vae.model import LatentModel
from jensen.vae.networks import Decoder
from jensen.vae.priors import StandardNormal


def tanh(x: Array) -> Array:
    """By name in a module, so that networks can be pickled."""
    return jnp.tanh(x)


class UnitLengthEncoded(Conditional):
    """q(z | x) = head(encoder(x / |x|)): rows of counts by their direction, for long and short histories alike.

    `dropped(key, x)` is the same with each value of x / |x| set to zero with probability `rate`, the others divided by
    1 - rate: for training, see `DroppedInputs`. A row without counts is encoded as zeros.

    Raises `InputError` for a rate outside [0, 1).
    """

    encoder: Encoder
    head: Head
    rate: float = eqx.field(static=True, default=0.5)

    def __check_init__(self):
        if not 0 <= self.rate < 1:
            raise InputError(f"The rate of dropout must lie in [0, 1), got {self.rate}")

    @property
    def dimension(self) -> int:
        return self.head.dimension

    def given(self, data: Float[Array, " n"]) -> Density:
        return self.head.density(self.encoder(_unit(data)))

    def dropped(self, key: PRNGKey, data: Float[Array, " n"]) -> Density:
        """q(z | what is left of x)."""
        kept = jax.random.bernoulli(key, 1 - self.rate, data.shape)
        return self.head.density(self.encoder(jnp.where(kept, _unit(data) / (1 - self.rate), 0.0)))


def _unit(x: Float[Array, " n"]) -> Float[Array, " n"]:
    return x / jnp.sqrt(jnp.maximum(jnp.sum(x**2), 1e-12))


class DroppedInputs(BatchObjective):
    """`objective` of each row, where q is given what `conditional.dropped` leaves of the row, the target all of it.

    The encoder learns to tell the whole row from a part, which is what predicting held-out items asks for. Where
    `objective` bounds the evidence, so does this, for any q will do; none is declared.

    Source: as denoising: Vincent et al. (2008); for variational autoencoders of clicks: Liang et al. (2018).
    """

    bound: ClassVar[str | None] = None
    objective: Objective = AnnealedElbo()

    def at(self, clock: Clock) -> "DroppedInputs":
        """With the objective of this step."""
        return eqx.tree_at(lambda o: o.objective, self, self.objective.at(clock))

    def losses(self, key: PRNGKey, conditional: Any, rows: Any, local: Callable[[Any], Any], num_rows: int) -> Estimate:
        def one(key: PRNGKey, row: Any) -> Estimate:
            key_drop, key_loss = jax.random.split(key)
            return self.objective.loss(key_loss, conditional.dropped(key_drop, row), local(row))

        return jax.vmap(one)(jax.random.split(key, jax.tree.leaves(rows)[0].shape[0]), rows)


class TanhEncoder(Encoder):
    """c = W_2 tanh(W_1 x): the network of the multinomial autoencoder."""

    network: eqx.nn.MLP

    def __call__(self, data: Float[Array, " n"]) -> Float[Array, " c"]:
        return self.network(data)


class TanhDecoder(Decoder):
    """raw = start + W_2 tanh(W_1 z); `start` begins at the items' own frequencies and is trained."""

    start: Float[Array, "n p"]
    network: eqx.nn.MLP

    def __call__(self, z: Float[Array, " k"]) -> Float[Array, "n p"]:
        return self.start + self.network(z).reshape(self.start.shape)


def multinomial_vae(
    key: PRNGKey, X: np.ndarray, latent_dim: int, hidden: int, rate: float = 0.5
) -> tuple[LatentModel, UnitLengthEncoded]:
    """The untrained model of users' clicks X (users, items) and its encoder: items - hidden - latents - hidden - items.

    x_u ~ Multinomial(sum_i x_ui, softmax(decoder(z_u))), z_u ~ N(0, I). Train it by `train` with `DroppedInputs()`;
    `click_scores` then ranks items.

    Raises `InputError` for values that are no counts, users without any, or sizes below one.

    Source: Liang, Krishnan, Hoffman and Jebara (2018), Variational autoencoders for collaborative filtering.
    """
    if min(latent_dim, hidden) < 1:
        raise InputError(f"latent_dim and hidden must be at least 1, got {latent_dim} and {hidden}")
    likelihood = Multinomial(max(1, round(float(np.mean(np.sum(X, 1))))))
    likelihood.check(X)
    key_encoder, key_decoder = jax.random.split(key)
    head, items = MeanField(latent_dim), X.shape[1]
    start = jnp.asarray(likelihood.initial(X), jnp.result_type(float))
    decoder = eqx.nn.MLP(latent_dim, items, hidden, 1, activation=tanh, key=key_decoder)
    encoder = eqx.nn.MLP(items, head.context, hidden, 1, activation=tanh, key=key_encoder)
    model = LatentModel(StandardNormal(latent_dim), TanhDecoder(start, decoder), likelihood)
    return model, UnitLengthEncoded(TanhEncoder(encoder), head, rate)


@eqx.filter_jit
def click_scores(model: LatentModel, conditional: Any, X: Float[Array, "users items"]) -> Float[Array, "users items"]:
    """log softmax(decoder(E[z | x])) of each user's items, in nats: the higher, the better recommended."""

    def one(x: Float[Array, " items"]) -> Float[Array, " items"]:
        return jax.nn.log_softmax(model.decoder(conditional.given(x).mean_and_cov()[0])[:, 0])

    return jax.vmap(one)(X)
