"""Amortised variational inference of the latents of rows, with the unknowns that rows share."""

import math
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jensen.algorithms._descent import begin, descend, scheduled
from jensen.core import (
    Algorithm,
    BatchObjective,
    Clock,
    Estimate,
    InputError,
    Locals,
    Objective,
    PointPosterior,
    Posterior,
    PRNGKey,
    Scalar,
    Space,
    Step,
    make_step,
    scalar_field,
)
from jensen.gradient_estimators import Reparameterisation, ScoreFunction, SigmaPairs, SigmaPoints, StickingTheLanding
from jensen.objectives import NegativeElbo

# estimators whose surrogate has the gradient in the shared unknowns as well as in q
WHOLE = (Reparameterisation, ScoreFunction, SigmaPairs, SigmaPoints, StickingTheLanding)


class AmortisedState(eqx.Module):
    """The shared unknowns z, the conditional q(u | row), Adam's moments, its norm of gradients, steps skipped."""

    z: Float[Array, " d"]
    conditional: Any
    adam: Any
    norm: Float[Array, ""]
    skipped: Int[Array, ""]


class AmortisedVI(Algorithm):
    """max over z and phi of log_prior(z) + sum_i ELBO(q_phi(u | x_i), p(x_i, u | z)): variational EM in one descent.

    Each row x_i has latents u_i of its own (`Locals`), approximated by a density q_phi(u | x_i) that a network computes
    from the row; z, the unknowns that all rows share, are a point. Both move by (z, phi) <- (z, phi) - r_t Adam(grad),
    on minibatches with the sum over rows scaled by N/B. What comes out is the point z, a maximum of a lower bound on
    log p(z, data), with `conditional` beside it. A variational autoencoder is trained so (`jensen.vae`).

    Args:
        conditional: a module with `given(row) -> Density` over the latents of one row, trained from where it is.
        objective: of one row; `NegativeElbo`, `ImportanceWeighted`, `Renyi`, ... with any estimator. Where the
            estimator's gradient holds for q alone (doubly reparameterised, path) that of z is had by a second,
            plainly reparameterised pass. Or a `BatchObjective`, whose terms need the other rows drawn.
        learning_rate: Adam's; it rises over `warmup` steps and falls to zero over the last `cooling` part.
        clip: a gradient longer than `clip` times the running norm is cut to that length.

    The objective of a step is the bound's negative for all rows, in nats; `standard_error` is over the rows drawn.

    Raises `InputError` where the conditional has no `given`.

    Source: Kingma and Welling (2014), Auto-encoding variational Bayes; Rezende, Mohamed and Wierstra (2014).
    """

    needs: ClassVar[Any] = Locals
    gives: ClassVar[type] = PointPosterior
    exact: ClassVar[bool] = False
    conditional: Any
    objective: Objective | BatchObjective = NegativeElbo(StickingTheLanding(num_draws=1))
    learning_rate: Scalar = scalar_field(1e-3)
    warmup: Scalar = scalar_field(50.0)
    cooling: Scalar = scalar_field(0.3)
    clip: Scalar = scalar_field(10.0)

    def __check_init__(self):
        if not hasattr(self.conditional, "given"):
            raise InputError(
                f"conditional must have given(row), a density of the row's latents; {type(self.conditional).__name__} "
                "has not"
            )

    @property
    def default_steps(self) -> int:
        return 5000

    @property
    def cooldown(self) -> float:
        return float(self.cooling)

    def init(self, key: PRNGKey, target: Any, start: Posterior) -> AmortisedState:
        z = start.mean_and_cov()[0] if not isinstance(start, PointPosterior) else start.z
        trainable = z, eqx.filter(self.conditional, eqx.is_inexact_array)
        adam, norm, skipped = begin(trainable)
        return AmortisedState(z, self.conditional, adam, norm, skipped)

    def step(self, key: PRNGKey, state: AmortisedState, target: Any, clock: Clock) -> tuple[AmortisedState, Step]:
        trainable, rest = eqx.partition((state.z, state.conditional), eqx.is_inexact_array)
        now = self.at(clock)

        def surrogate(trainable: Any) -> tuple[Float[Array, ""], Estimate]:
            z, conditional = eqx.combine(trainable, rest)
            estimate = now.estimate(key, z, conditional, target)
            return estimate.surrogate, estimate

        gradient, estimate = jax.grad(surrogate, has_aux=True)(trainable)
        moments, rate = (state.adam, state.norm, state.skipped), self.rate(clock)
        moved, (adam, norm, skipped), length = descend(trainable, gradient, estimate.value, moments, rate, self.clip)
        scalars = {"gradient_norm": length, "standard_error": estimate.standard_error}
        z, conditional = eqx.combine(moved, rest)
        return AmortisedState(z, conditional, adam, norm, skipped), make_step(estimate.value, **scalars)

    def rate(self, clock: Clock) -> Scalar:
        """r_t: warm-up, constant, half a cosine."""
        return scheduled(clock, self.learning_rate, self.warmup, self.cooling)

    def at(self, clock: Clock) -> "AmortisedVI":
        """Itself with the objective of this step."""
        return eqx.tree_at(lambda a: a.objective, self, self.objective.at(clock))

    def estimate(self, key: PRNGKey, z: Float[Array, " d"], conditional: Any, target: Any) -> Estimate:
        """The objective of all rows, from those that the target holds, less the log prior of z."""
        estimator = getattr(self.objective, "estimator", None)
        if estimator is None or isinstance(estimator, WHOLE):
            rows = self._rows(self.objective, key, z, conditional, target)
            surrogates = rows.surrogate
        else:
            rows = self._rows(self.objective, key, jax.lax.stop_gradient(z), conditional, target)
            plain: Any = Reparameterisation(num_draws=estimator.num_draws)
            objective = eqx.tree_at(lambda o: o.estimator, self.objective, plain)
            surrogates = rows.surrogate + self._rows(objective, key, z, _still(conditional), target).surrogate
        held = rows.value.shape[0]
        scale = target.num_rows / held
        error = target.num_rows * jnp.std(rows.value, ddof=1) / math.sqrt(held) if held > 1 else rows.standard_error[0]
        prior = target.log_prior(z)
        return Estimate(scale * jnp.sum(rows.value) - prior, scale * jnp.sum(surrogates) - prior, error)

    def _rows(self, objective: Any, key: PRNGKey, z: Float[Array, " d"], conditional: Any, target: Any) -> Estimate:
        """Estimates row by row, leading axis rows."""
        if isinstance(objective, BatchObjective):
            return objective.losses(key, conditional, target.data, lambda row: target.local(z, row), target.num_rows)

        def one(key: PRNGKey, row: Any) -> Estimate:
            return objective.loss(key, conditional.given(row), target.local(z, row))

        held = jax.tree.leaves(target.data)[0].shape[0]
        return jax.vmap(one)(jax.random.split(key, held), target.data)

    def loss(self, key: PRNGKey, state: AmortisedState, target: Any) -> Float[Array, ""]:
        """The objective of a state on other rows: what `EarlyStopping` looks at."""
        return self.estimate(key, state.z, state.conditional, target).value

    def posterior(self, state: AmortisedState, draws: Any, space: Space) -> PointPosterior:
        return PointPosterior(space, state.z, conditional=state.conditional)

    def cautious(self) -> "AmortisedVI":
        return eqx.tree_at(lambda a: a.learning_rate, self, 0.5 * self.learning_rate)


def _still(tree: Any) -> Any:
    return jax.tree.map(lambda a: jax.lax.stop_gradient(a) if eqx.is_inexact_array(a) else a, tree)
