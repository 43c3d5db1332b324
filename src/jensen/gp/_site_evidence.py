"""The evidence of a latent Gaussian model by an update rule, as a differentiable function of its hyperparameters."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jensen._run import until_stopped
from jensen.algorithms._sites import SiteRule
from jensen.core import Clock, Sites, no_sites
from jensen.core.algorithm import StopCode


def fixed_point(rule: SiteRule, model: Any, steps: int = 100) -> Sites:
    """The sites at which the rule stands still, or those after `steps` steps; from empty sites, within one program."""
    state = rule.begin(model, no_sites(model.prior.num_sites, model.prior.num_values))
    dynamic, static = eqx.partition(state, eqx.is_array)
    total = jnp.asarray(steps, jnp.int32)

    def once(t: Int[Array, ""], dynamic: Any) -> tuple[Any, Int[Array, ""]]:
        new, step = rule.step(jax.random.key(0), eqx.combine(dynamic, static), model, Clock(t, total))
        return eqx.filter(new, eqx.is_array), step.stop

    code = jnp.asarray(StopCode.CONTINUE, jnp.int32)
    return eqx.combine(until_stopped(once, dynamic, code, steps)[0], static).sites


def site_evidence(rule: SiteRule, model: Any, steps: int = 100) -> Float[Array, ""]:
    """log p(y) by `rule` at its fixed point, differentiable in the model.

    The evidences of `CVI` and `EP` are stationary in the sites, so that these are held fixed; that of `SiteLaplace` is
    not, and is differentiated through two Newton steps from the mode, which is exact to second order.
    """
    frozen = jax.tree.map(lambda a: jax.lax.stop_gradient(a) if eqx.is_inexact_array(a) else a, model)
    sites = jax.lax.stop_gradient(fixed_point(rule, frozen, steps))
    for _ in range(rule.refinements):
        sites = rule.proposal(sites, model.prior.condition(sites), model)
    return rule.log_evidence(sites, model.prior.condition(sites), model)
