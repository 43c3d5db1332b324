"""How noisy the gradient of an objective is, and how far below the evidence its bound lies."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import Density, InputError, Objective, PRNGKey, in_batches
from jensen.core.random import check_key


class GradientNoise(eqx.Module):
    """Mean and variance over replicates of an objective's stochastic gradient, parameter by parameter.

    `mean`, `variance`, `signal_to_noise` (|mean| / standard deviation): trees shaped as the trainable part of q.
    `total_variance`: the sum of all variances. `squared_norm`: E|g|^2, with `squared_norm_error` its standard error.
    `replicates`: how many gradients that is.
    """

    mean: Any
    variance: Any
    signal_to_noise: Any
    total_variance: Float[Array, ""]
    squared_norm: Float[Array, ""]
    squared_norm_error: Float[Array, ""]
    replicates: int = eqx.field(static=True)


def gradient_noise(key: Any, objective: Objective, q: Any, target: Any, num_replicates: int = 256) -> GradientNoise:
    """The noise of the gradient of `objective` at q, by `num_replicates` independent gradients, in one compiled call.

    A signal-to-noise ratio far below one for every parameter says that more draws, or another estimator, would pay.
    Variances are per gradient as the objective takes it, of all its draws together.

    Raises `InputError` for fewer than two replicates or a key that is none.
    """
    check_key(key)
    if num_replicates < 2:
        raise InputError(f"num_replicates must be at least 2, got {num_replicates}")
    return _noise(key, objective, q, target, num_replicates)


@eqx.filter_jit
def _noise(key: PRNGKey, objective: Objective, q: Any, target: Any, num: int) -> GradientNoise:
    trainable, rest = q.partition()

    def gradient(key: PRNGKey) -> Any:
        return jax.grad(lambda t: objective.loss(key, eqx.combine(t, rest), target).surrogate)(trainable)

    rows = jax.vmap(gradient)(jax.random.split(key, num))
    mean = jax.tree.map(lambda g: jnp.mean(g, axis=0), rows)
    variance = jax.tree.map(lambda g: jnp.var(g, axis=0, ddof=1), rows)
    ratio = jax.tree.map(lambda m, v: jnp.abs(m) / jnp.sqrt(v), mean, variance)
    squares = sum(jnp.sum(g.reshape(num, -1) ** 2, axis=1) for g in jax.tree.leaves(rows))
    total = sum(jnp.sum(v) for v in jax.tree.leaves(variance))
    error = jnp.std(squares, ddof=1) / math.sqrt(num)
    return GradientNoise(mean, variance, ratio, jnp.asarray(total), jnp.mean(squares), error, num)


class BoundGap(eqx.Module):
    """How far a lower bound lies below the evidence as importance sampling sees it, in nats.

    `gap`: log Z^ - bound. `standard_error`: of the bound alone. `bound`: the negative of the objective. `log_evidence`:
    log Z^ = log mean w. `ess`: (sum w)^2 / sum w^2 over the draws, as a share of them: where it is small, log Z^ is too
    low and the true gap is larger than `gap`.
    """

    gap: Float[Array, ""]
    standard_error: Float[Array, ""]
    bound: Float[Array, ""]
    log_evidence: Float[Array, ""]
    ess: Float[Array, ""]


def bound_gap(
    key: Any, objective: Objective, q: Density, target: Any, num_draws: int = 10_000, num_replicates: int = 256
) -> BoundGap:
    """The effective gap log Z^ - bound of `objective` at q: for the ELBO an estimate of KL(q || posterior).

    log Z^ by `num_draws` draws of q, the bound by `num_replicates` evaluations of the objective.

    Raises `InputError` where the objective declares no lower bound, or q has no density.
    """
    check_key(key)
    if objective.bound != "lower":
        raise InputError(f"{type(objective).__name__} declares no lower bound on the log evidence: it has no gap to it")
    if not isinstance(q, Density):
        raise InputError(f"{type(q).__name__} has no density: its importance weights are not known")
    return _gap(key, objective, q, target, num_draws, num_replicates)


@eqx.filter_jit
def _gap(key: PRNGKey, objective: Objective, q: Density, target: Any, num_draws: int, num: int) -> BoundGap:
    key_weights, key_bound = jax.random.split(key)

    def log_weight(key: PRNGKey) -> Float[Array, ""]:
        z, log_q = q.sample_and_log_prob(key)
        return target.log_density(z) - log_q

    log_w = in_batches(log_weight, jax.random.split(key_weights, num_draws), 1000)
    evidence = jax.nn.logsumexp(log_w) - math.log(num_draws)
    ess = jnp.exp(2 * jax.nn.logsumexp(log_w) - jax.nn.logsumexp(2 * log_w)) / num_draws
    values = jax.vmap(lambda k: objective.loss(k, q, target).value)(jax.random.split(key_bound, num))
    bound = -jnp.mean(values)
    return BoundGap(evidence - bound, jnp.std(values, ddof=1) / math.sqrt(num), bound, evidence, ess)
