"""The evidence of rows by annealed importance sampling: a way to log p(x) that no encoder can spoil."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.algorithms._tempered import Move, evaluate
from jensen.core import InputError, PRNGKey, check_key, in_batches
from jensen.families import Gaussian
from jensen.families.bijective import log_standard_normal
from jensen.vae.model import row_target

ROWS = 50  # at a time
ACCEPTANCE, GAIN, FIRST = 0.65, 1.0, 0.3  # aimed at, speed of the pilot's step sizes, their first
STEEPNESS = 4.0  # of the sigmoid by which temperatures rise: slowly at both ends


class AnnealedEvidence(eqx.Module):
    """log p(x) of each row, in nats, by `log_weights` (rows, chains): `value` = log mean_c w_c.

    In expectation `value` is a lower bound; E[w] = p(x) exactly. `standard_error` is that of log mean w by the delta
    method, not to be trusted where `effective_size` (rows,), of chains, is small. `acceptance`: of the moves.
    """

    value: Float[Array, " rows"]
    standard_error: Float[Array, " rows"]
    log_weights: Float[Array, "rows chains"]
    effective_size: Float[Array, " rows"]
    acceptance: Float[Array, " rows"]


def annealed_evidence(
    key: PRNGKey,
    model: Any,
    X: Float[Array, "rows n"],
    *,
    conditional: Any = None,
    chains: int = 16,
    temperatures: int = 100,
    leapfrog_steps: int = 10,
) -> AnnealedEvidence:
    """log p(x) of rows by annealing from a Gaussian to p(z | x), each row by `chains` of its own.

    log w = sum_t (b_t - b_t-1) log p(x, z_t-1) / q0(z_t-1), z_t moved by a Hamiltonian trajectory that leaves
    q0^(1 - b_t) p(x, z)^b_t as it is; b rises from 0 to 1 by a sigmoid. q0 = N(m, S) of the `conditional`'s mean and
    covariance, N(0, I) where None: then nothing depends on the encoder, and what it gets wrong shows. Step sizes are
    found by a pilot run with other draws, a size for each row and temperature, so that w is unbiased.

    Costs 2 chains temperatures leapfrog_steps gradients of the decoder a row. A mode that no chain reaches is missing
    from the estimate. Too small where chains are few or temperatures are rare: double them and look.

    Raises `InputError` for sizes below one (two for chains).

    Source: Neal (2001), Annealed importance sampling; of decoders: Wu, Burda, Salakhutdinov and Grosse (2017), On the
    quantitative analysis of decoder-based generative models.
    """
    check_key(key)
    if min(temperatures, leapfrog_steps) < 1 or chains < 2:
        raise InputError(
            f"Annealing wants two chains and one temperature and leapfrog step or more, got {chains}, {temperatures} "
            f"and {leapfrog_steps}"
        )
    if X.ndim != 2 or 0 in X.shape:
        raise InputError(f"X must have shape (rows, values), got {X.shape}")
    log_weights, acceptance = _anneal(key, model, conditional, X, chains, temperatures, leapfrog_steps)
    value = jax.nn.logsumexp(log_weights, axis=1) - math.log(chains)
    shares = jnp.exp(log_weights - value[:, None])
    error = jnp.std(shares, axis=1, ddof=1) / math.sqrt(chains)
    return AnnealedEvidence(value, error, log_weights, chains / jnp.mean(shares**2, axis=1), acceptance)


def temperatures_of(number: int, dtype: Any) -> Float[Array, " t1"]:
    """b_0 = 0 ... b_number = 1, along a sigmoid."""
    rise = jax.nn.sigmoid(STEEPNESS * jnp.linspace(-1.0, 1.0, number + 1, dtype=dtype))
    return (rise - rise[0]) / (rise[-1] - rise[0])


@eqx.filter_jit
def _anneal(key: PRNGKey, model: Any, conditional: Any, X: Array, chains: int, number: int, leapfrogs: int) -> Any:
    def row(pair: tuple[PRNGKey, Array]) -> tuple[Array, Array]:
        key_pilot, key_run = jax.random.split(pair[0])
        target = row_target(model, pair[1])
        start = _start(conditional, pair[1], target.space.dimension)
        schedule = temperatures_of(number, start.mean.dtype)
        first = jnp.full(number, math.log(FIRST), start.mean.dtype)
        _, _, log_steps = _run(key_pilot, target, start, schedule, first, True, chains, leapfrogs)
        log_weights, acceptance, _ = _run(key_run, target, start, schedule, log_steps, False, chains, leapfrogs)
        return log_weights, acceptance

    # keys by place, so that a row's value does not depend on how many others there are
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(len(X)))
    return in_batches(row, (keys, X), ROWS)


def _start(conditional: Any, x: Array, d: int) -> Gaussian:
    if conditional is None:
        return Gaussian(jnp.zeros(d, x.dtype), jnp.eye(d, dtype=x.dtype))
    mean, cov = conditional.given(x).mean_and_cov()
    return Gaussian(mean, jnp.linalg.cholesky(cov))


def _run(
    key: PRNGKey,
    target: Any,
    start: Gaussian,
    schedule: Array,
    log_steps: Array,
    pilot: bool,
    chains: int,
    leapfrogs: int,
) -> tuple[Array, Array, Array]:
    """(log weights, mean acceptance, log step of each temperature); a `pilot` follows acceptance, else as given."""
    key_start, key_moves = jax.random.split(key)
    d = start.dimension
    particles = evaluate(target, start, jax.random.normal(key_start, (chains, d), start.mean.dtype))
    scale = jnp.eye(d, dtype=start.mean.dtype)

    def one(carry: Any, inputs: Any) -> tuple[Any, Any]:
        particles, log_weights, followed = carry
        key, before, after, given = inputs
        ratio = particles.log_density - jax.vmap(log_standard_normal)(particles.u)
        log_weights = log_weights + (after - before) * jnp.where(jnp.isnan(ratio), -jnp.inf, ratio)
        log_step = followed if pilot else given
        particles, probability = Move(start, after, scale, leapfrogs)(key, particles, target, log_step)
        acceptance = jnp.mean(probability)
        return (particles, log_weights, log_step + GAIN * (acceptance - ACCEPTANCE)), (acceptance, log_step)

    number = log_steps.shape[0]
    inputs = (jax.random.split(key_moves, number), schedule[:-1], schedule[1:], log_steps)
    carry = particles, jnp.zeros(chains, start.mean.dtype), log_steps[0]
    (_, log_weights, _), (acceptance, used) = jax.lax.scan(one, carry, inputs)
    return log_weights, jnp.mean(acceptance), used
