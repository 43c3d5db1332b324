"""Autoencoders trained by optimal transport between rows and prior, without an encoder."""

from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import BatchObjective, Estimate, InputError, PRNGKey, Scalar, sample_many, scalar_field
from jensen.vae.coupling import annealed, couple, coupling_cost
from jensen.vae.model import LatentModel


class TransportLoss(BatchObjective):
    """min over couplings pi of rows and prior of E_pi[-log p(x | z)] + eps KL(pi || rows x prior), eps = `epsilon`.

    At eps = 1 the smallest -ELBO among conditionals whose codes together are the prior, with no holes in it, and so
    never below E[-log p(x)]: equal where the posteriors of the data do add up to the prior. Other eps temper the
    likelihood. The coupling is solved anew at each step, between the rows of the minibatch and `num_draws` of the
    prior, by `rounds` of Sinkhorn at falling eps, and held while the decoder takes its step (envelope theorem).

    A minibatch couples itself alone: take all rows, or some hundreds, and `num_draws` as many. From so few points the
    value is biased and no bound is declared; `transported_codes` gives that with a large bank. O(rows num_draws)
    densities and `rounds` times as many exponentials. The conditional is `NoEncoder`. A likelihood with a trained scale
    has no least cost: keep it fixed.

    Raises `InputError` for an epsilon that is not positive, or fewer than one draw or round.

    Source: Hao and Shafto (2023), Coupled variational autoencoder.
    """

    bound: ClassVar[str | None] = None
    epsilon: Scalar = scalar_field(1.0)
    num_draws: int = eqx.field(static=True, default=256)
    rounds: int = eqx.field(static=True, default=16)

    def __check_init__(self):
        if not isinstance(self.epsilon, jax.core.Tracer) and not float(self.epsilon) > 0:
            raise InputError(f"epsilon must be positive, got {float(self.epsilon):g}")
        if min(self.num_draws, self.rounds) < 1:
            raise InputError(f"num_draws and rounds must be at least 1, got {self.num_draws} and {self.rounds}")

    def losses(self, key: PRNGKey, conditional: Any, rows: Any, local: Callable[[Any], Any], num_rows: int) -> Estimate:
        model = local(rows[0]).model
        cost = coupling_cost(model, rows, sample_many(key, model.prior, self.num_draws))
        still = jax.lax.stop_gradient(cost)
        u = annealed(still, self.epsilon, self.rounds)
        # exact on the bank's side; rows are scaled to a mass of one each
        log_plan = jax.nn.log_softmax((u[:, None] - still) / self.epsilon, axis=0) + jnp.log(len(rows) / self.num_draws)
        plan = jnp.exp(log_plan)
        mixed = self.epsilon * jnp.sum(plan * (log_plan + jnp.log(self.num_draws)), 1)
        surrogate = jnp.sum(plan * cost, 1) + mixed
        return jax.vmap(Estimate)(surrogate, surrogate, jnp.full_like(mixed, jnp.nan))


def transported_codes(
    key: PRNGKey, model: LatentModel, X: Float[Array, "rows n"], num_draws: int = 2000, epsilon: Any = 1.0
) -> tuple[Float[Array, "rows k"], Float[Array, ""]]:
    """(a code for each row, drawn from the coupling with `num_draws` of the prior; the cost in nats a row)."""
    key_bank, key_codes = jax.random.split(key)
    bank = sample_many(key_bank, model.prior, num_draws)
    coupling = couple(coupling_cost(model, X, bank), epsilon)
    return bank[coupling.draw(key_codes)], coupling.value
