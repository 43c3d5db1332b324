"""Chains: R-hat, effective sample sizes, divergences."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import Certificate, Check, Compiled, DrawsPosterior

MAX_RHAT = 1.01
MIN_ESS = 400.0
MAX_DIVERGING = 0.001


@Compiled
def diagnose(chains: Float[Array, "chains n d"]) -> tuple[Float[Array, " d"], Float[Array, " d"], Float[Array, " d"]]:
    """(R-hat, bulk ESS, tail ESS) of each coordinate, rank-normalised and split. Vehtari et al. (2021)."""
    from blackjax.diagnostics import ess_bulk, ess_tail, rhat

    # BlackJAX drops the last axis where d = 1
    return jnp.reshape(rhat(chains), -1), jnp.reshape(ess_bulk(chains), -1), jnp.reshape(ess_tail(chains), -1)


def chain_checks(posterior: DrawsPosterior) -> Certificate:
    """Whether the chains agree, how many independent draws they are worth, and whether the sampler diverged."""
    chains = posterior.chains
    count, n, _ = chains.shape
    if n < 8 or count < 2:
        kind = "population" if posterior.independent else "chain"
        words = f"{count} {kind}(s) of {n} draws cannot be compared with one another."
        advice = "Run at least 2 of them, of 8 draws (4 of 500 is usual); jensen.fit does."
        few = Check(f"{kind}s", float(count), 0.0, 2.0, False, "", True, words, advice)
        return Certificate((few,), num_draws=count * n)
    constant = jnp.ptp(chains, axis=(0, 1)) == 0
    rhat, bulk, tail = (jnp.where(constant, jnp.nan, a) for a in diagnose(chains))
    worst = float(jnp.max(jnp.where(jnp.isnan(rhat), jnp.inf, rhat)))
    ess = float(jnp.min(jnp.nan_to_num(jnp.minimum(bulk, tail), nan=0.0)))
    source = "Vehtari, Gelman, Simpson, Carpenter, Buerkner (2021)"
    blind = "a mode that no chain has visited, or one that every chain was drawn into alike"
    checks = [
        Check(
            "rhat",
            worst,
            0.0,
            MAX_RHAT,
            worst < MAX_RHAT,
            blind,
            True,
            f"The chains disagree (R-hat {worst:.3f}, limit {MAX_RHAT}).",
            "Run longer, precondition by a fitted family, or look for several modes (SMC).",
            source,
        ),
    ]
    if posterior.independent:  # particles of one population share ancestors: no autocorrelation tells their worth
        return Certificate(tuple(checks), num_draws=count * n)
    checks.append(
        Check(
            "ess",
            ess,
            0.0,
            MIN_ESS,
            ess >= MIN_ESS,
            "",
            True,
            f"The draws are worth {ess:.0f} independent ones in the worst coordinate (at least {MIN_ESS:.0f} wanted).",
            "Run longer, or precondition.",
            source,
        )
    )
    if posterior.diverging is not None:
        share = float(jnp.mean(posterior.diverging))
        error = math.sqrt(share * (1 - share) / (count * n))
        checks.append(
            Check(
                "divergences",
                share,
                error,
                MAX_DIVERGING,
                share <= MAX_DIVERGING,
                "",
                True,
                f"{100 * share:.2f} % of the trajectories diverged: regions of high curvature were not explored.",
                "Reparameterise (non-centred), or raise target_acceptance.",
                "Betancourt (2017)",
            )
        )
    return Certificate(tuple(checks), ess=ess, num_draws=count * n)


def batch(values: jax.Array, size: int = 1000) -> jax.Array:
    """At most `size` rows, evenly spaced."""
    step = max(1, values.shape[0] // size)
    return values[::step][:size]
