"""Several autoencoders that must agree on the category of a row."""

from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jensen.amortised import Conditional, Encoded
from jensen.core import BatchObjective, Clock, Estimate, InputError, PRNGKey, Scalar, scalar_field
from jensen.vae.concrete import CategoryNormal, concrete_head
from jensen.vae.likelihoods import Likelihood
from jensen.vae.model import LatentModel
from jensen.vae.networks import Decoder, perceptron_decoder, perceptron_encoder
from jensen.vae.priors import units_divergence

FLOOR = 1e-3  # of probabilities inside a logarithm, and of their variance over a minibatch: both bound the coupling


class Arms(Conditional):
    """q_a(c, s | x) of each of several arms; `given` is that of the first."""

    arms: tuple[Encoded, ...]

    @property
    def dimension(self) -> int:
        return self.arms[0].dimension

    def given(self, data: Any) -> Any:
        return self.arms[0].given(data)


class ArmDecoders(Decoder):
    """A decoder for each arm; as one decoder it is the first."""

    arms: tuple[Decoder, ...]

    def __call__(self, z: Float[Array, " k"]) -> Float[Array, "n p"]:
        return self.arms[0](z)


class CoupledElbo(BatchObjective):
    """(A - 1) sum_a [misfit_a + beta KL(s_a || N(0, I))] + sum_(a<b) [lambda |l_a / d_a - l_b / d_b|^2 - H_a - H_b].

    Each of the A arms sees the row through a draw of its own of `augment(key, x)`, which must keep the row's category.
    l_a = log q_a(c | x), d_a(k) the standard deviation of q_a(k) over the minibatch, so that a category that never
    varies cannot hide disagreement; H_a the entropy of q_a, which keeps all categories in play (a divergence from the
    uniform prior, less log K). lambda = `coupling` rises over the first `rise` part of a run: at the start all d are
    tiny. No bound on the evidence. Constant q agree as well: look at how many categories are used.

    Source: Marghi, Gala, Baftizadeh and Sumbul (2021), Mixture representation learning with coupled autoencoders; the
    scale of the distance after the authors' later code.
    """

    bound: ClassVar[str | None] = None
    augment: Callable[[PRNGKey, Any], Any] = eqx.field(static=True)
    coupling: Scalar = scalar_field(1.0)
    beta: Scalar = scalar_field(1.0)
    rise: Scalar = scalar_field(0.3)

    def at(self, clock: Clock) -> "CoupledElbo":
        """With the coupling of this step."""
        share = jnp.minimum(1.0, clock.fraction / jnp.maximum(self.rise, 1e-6))
        return eqx.tree_at(lambda o: o.coupling, self, self.coupling * share)

    def losses(self, key: PRNGKey, conditional: Any, rows: Any, local: Callable[[Any], Any], num_rows: int) -> Estimate:
        _check_arms(conditional, local(rows[0]).model)
        count = len(conditional.arms)

        def arm(key: PRNGKey, x: Array, a: int) -> tuple[Array, Array]:
            key_seen, key_draw = jax.random.split(key)
            model, seen = local(x).model, self.augment(key_seen, x)
            q = conditional.arms[a].given(seen)
            z = q.sample(key_draw)
            misfit = -model.likelihood.log_prob(seen, model.decoder.arms[a](z))
            state = units_divergence(q.mean + q.shift @ z[: q.logits.shape[0]], q.log_scale)
            return misfit + self.beta * jnp.sum(state), jax.nn.softmax(q.logits)

        keys = jax.random.split(key, (count, len(rows)))
        parts = [jax.vmap(arm, (0, 0, None))(keys[a], rows, a) for a in range(count)]
        total = (count - 1) * jnp.sum(jnp.stack([own for own, _ in parts]), axis=0)
        for a in range(count):
            for b in range(a + 1, count):
                total = total + self.coupling * simplex_distance(parts[a][1], parts[b][1])
                total = total - entropy(parts[a][1]) - entropy(parts[b][1])
        return jax.vmap(Estimate)(total, total, jnp.full_like(total, jnp.nan))


def simplex_distance(p: Float[Array, "rows k"], q: Float[Array, "rows k"]) -> Float[Array, " rows"]:
    """sum_k (log p_k / d_k(p) - log q_k / d_k(q))^2 of each row, d_k the standard deviation of column k over the rows.

    Probabilities and variances are kept above 1e-3.
    """

    def scaled(p: Array) -> Array:
        return jnp.log(p + FLOOR) / jnp.sqrt(jnp.var(p, axis=0) + FLOOR)

    return jnp.sum((scaled(p) - scaled(q)) ** 2, axis=1)


def entropy(p: Float[Array, "rows k"]) -> Float[Array, " rows"]:
    """- sum_k p_k log p_k of each row, in nats."""
    return -jnp.sum(p * jnp.log(jnp.maximum(p, jnp.finfo(p.dtype).tiny)), axis=1)


def _check_arms(conditional: Any, model: Any) -> None:
    arms, decoders = getattr(conditional, "arms", ()), getattr(model.decoder, "arms", ())
    if len(arms) < 2 or len(arms) != len(decoders):
        raise InputError(
            f"CoupledElbo wants Arms and ArmDecoders of one number, two or more, got {len(arms)} and {len(decoders)}: "
            "see coupled_autoencoder"
        )


def coupled_autoencoder(
    key: PRNGKey,
    X: Float[Array, "rows n"],
    likelihood: Likelihood,
    categories: int,
    size: int,
    arms: int = 2,
    hidden: tuple[int, ...] = (64,),
    temperature: float = 0.5,
) -> tuple[LatentModel, Arms]:
    """The untrained parts: `arms` perceptrons each way, `categories` K and `size` states.

    Raises `InputError` for sizes out of range.
    """
    if arms < 2:
        raise InputError(f"Coupled autoencoders want at least 2 arms, got {arms}")
    head = concrete_head(categories, size, temperature)
    start = jnp.asarray(likelihood.initial(np.asarray(X)), X.dtype)
    spread = jnp.std(X, 0)
    spread = jnp.where(spread > 0, spread, 1.0)
    keys = jax.random.split(key, (arms, 2))
    decoders = tuple(perceptron_decoder(k[0], head.dimension, hidden, start) for k in keys)
    encoders = tuple(perceptron_encoder(k[1], jnp.mean(X, 0), spread, hidden, head.context) for k in keys)
    model = LatentModel(CategoryNormal(categories, size), ArmDecoders(decoders), likelihood)
    return model, Arms(tuple(Encoded(encoder, head) for encoder in encoders))


@eqx.filter_jit
def arm_categories(conditional: Arms, X: Float[Array, "rows n"]) -> Int[Array, "arms rows"]:
    """The most probable category of each row, by each arm."""

    def of(arm: Encoded) -> Array:
        def row(x: Array) -> Array:
            q: Any = arm.given(x)
            return jnp.argmax(q.logits)

        return jax.vmap(row)(X)

    return jnp.stack([of(arm) for arm in conditional.arms])
