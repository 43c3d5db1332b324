"""Importance weights of fresh draws: Pareto k-hat, effective sample size, bounds on the evidence, moments."""

import math
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array

from jensen.certificate._pareto import smooth
from jensen.core import Certificate, Check, Compiled, Density, PRNGKey, at_once, at_step, in_batches

NUM_DRAWS = 4000
BATCH = 100  # draws of one importance-weighted bound
MIN_ESS = 400.0
MAX_SHIFT = 0.1
MAX_WIDTH = 0.1
GROSS_SHIFT = 1.0  # weights may correct a density's moments, not move them altogether
GROSS_WIDTH = 0.5
LOOSE = "a limit of sanity: weights may correct a density, not move it altogether"


class Weights(eqx.Module):
    """Fresh draws z of q with log p(z) - log q(z), smoothed log weights (normalised), k-hat and summaries, on the host.

    `shift`: largest |E_w z_i - E_q z_i| / sd_w(z_i); `width`: largest |log sd_q(z_i) - log sd_w(z_i)|, with w the
    smoothed weights: how far q's own moments are from the reweighted ones.
    """

    z: np.ndarray
    log_ratio: np.ndarray
    log_weights: np.ndarray
    khat: float
    ess: float
    elbo: float
    elbo_error: float
    bound: float
    bound_error: float
    log_evidence: float
    shift: float
    width: float
    undefined: float


@Compiled
def _draw(key: PRNGKey, q: Density, target: Any, num_draws: int) -> tuple[Array, Array]:
    z, log_q = jax.vmap(q.sample_and_log_prob)(jax.random.split(key, num_draws))
    return z, in_batches(target.log_density, z, at_once(target, 500)) - log_q


def summarise(z: np.ndarray, log_ratio: np.ndarray) -> Weights:
    """Smooth the weights of draws z (n, d) with log p(z) - log q(z) (n,), and sum them up; n is a multiple of 100."""
    n = len(log_ratio)
    undefined = float(np.mean(np.isnan(log_ratio)))
    log_ratio = np.where(np.isnan(log_ratio), -np.inf, log_ratio)
    if not np.any(np.isfinite(log_ratio)) or np.any(log_ratio == np.inf):
        bad = {"khat": math.inf, "ess": 0.0, "shift": math.inf, "width": math.inf, "undefined": undefined}
        unknown = dict.fromkeys(("elbo", "elbo_error", "bound", "bound_error", "log_evidence"), -math.inf)
        return Weights(z=z, log_ratio=log_ratio, log_weights=np.full(n, -math.log(n)), **bad, **unknown)
    log_weights, khat = smooth(log_ratio)
    weights = np.exp(log_weights)
    batches = np.logaddexp.reduce(log_ratio.reshape(-1, BATCH), axis=1) - math.log(BATCH)
    with np.errstate(all="ignore"):  # an improper posterior has no moments: what is not finite fails its check
        mean_w, mean_q = weights @ z, np.mean(z, 0)
        sd_w, sd_q = np.sqrt(weights @ (z - mean_w) ** 2), np.std(z, 0)
        shift, width = np.abs(mean_w - mean_q) / sd_w, np.abs(np.log(sd_q / sd_w))
    finite = bool(np.all(np.isfinite(log_ratio)))
    return Weights(
        z=z,
        log_ratio=log_ratio,
        log_weights=log_weights,
        khat=khat,
        ess=float(1 / np.sum(weights**2)),
        elbo=float(np.mean(log_ratio)),
        elbo_error=float(np.std(log_ratio) / math.sqrt(n)) if finite else math.inf,
        bound=float(np.mean(batches)),
        bound_error=float(np.std(batches) / math.sqrt(len(batches))) if np.all(np.isfinite(batches)) else math.inf,
        log_evidence=float(np.logaddexp.reduce(log_ratio) - math.log(n)),
        shift=float(np.max(np.nan_to_num(shift, nan=np.inf))),
        width=float(np.max(np.nan_to_num(width, nan=np.inf))),
        undefined=undefined,
    )


def weigh(key: PRNGKey, q: Density, target: Any, num_draws: int = NUM_DRAWS) -> Weights:
    """Draw from q, weigh by p / q, smooth the weights (PSIS).

    A draw where log p is NaN or -inf has weight zero; the share of NaN is reported. Cost: `num_draws` densities.
    Source: Vehtari, Simpson, Gelman, Yao, Gabry (2024).
    """
    return summarise(*map(np.asarray, _draw(key, q, target, num_draws)))


def prepare_weights(key: PRNGKey, q: Density, target: Any, num_draws: int = NUM_DRAWS) -> None:
    """Have the program of `weigh` compiled by another thread, for a density such as q."""
    _draw.form(key, q, target, num_draws).ahead(key, q, target, num_draws)


def weigh_more(key: PRNGKey, q: Density, target: Any, first: Weights, times: int) -> Weights:
    """`first` pooled with `times` further batches of as many draws, by the program that made it."""
    n = len(first.log_ratio)
    batches = [map(np.asarray, _draw(at_step(key, i), q, target, n)) for i in range(times)]
    z, log_ratio = (np.concatenate(parts) for parts in zip((first.z, first.log_ratio), *batches, strict=True))
    return summarise(z, log_ratio)


def khat_threshold(num_draws: int) -> float:
    """min(1 - 1 / log10 S, 0.7): above it S draws do not tell the tail. Vehtari et al. (2024), section 3.2.4."""
    return min(1 - 1 / math.log10(num_draws), 0.7)


def weight_checks(weights: Weights, resampled: bool) -> Certificate:
    """Checks on the weights of fresh draws; `resampled`: of draws that the posterior reweights (moments then hold)."""
    n = len(weights.log_ratio)
    khat, ess = weights.khat, weights.ess
    limit = khat_threshold(n)
    tail = 3 * math.sqrt(n)
    checks = [
        Check(
            "pareto k-hat",
            khat,
            (1 + max(khat, 0.0)) / math.sqrt(tail) if math.isfinite(khat) else math.inf,
            limit,
            khat < limit,
            "regions where the approximation has practically no mass: a mode that none of its draws comes near",
            True,
            f"The importance weights of {n} fresh draws have a heavy tail (k-hat {khat:.2f}, limit {limit:.2f}): the "
            "approximation is too narrow or of the wrong shape somewhere.",
            "Use a richer family (full rank, a flow) or a sampler (NUTS), or jensen.fit, which tries them in turn.",
            "Vehtari, Simpson, Gelman, Yao, Gabry (2024)",
        ),
        Check(
            "importance ess",
            ess,
            0.0,
            MIN_ESS,
            ess >= MIN_ESS,
            "",
            True,
            f"{n} fresh draws are worth only {ess:.0f} of the posterior (at least {MIN_ESS:.0f} wanted).",
            "Improve the approximation, or take more draws where k-hat is small.",
            "Vehtari, Gelman, Simpson, Carpenter, Buerkner (2021): 400 for stable estimates of error",
        ),
    ]
    limit_shift, limit_width = (GROSS_SHIFT, GROSS_WIDTH) if resampled else (MAX_SHIFT, MAX_WIDTH)
    shift, width = weights.shift, weights.width
    error = 1 / math.sqrt(max(ess, 1.0))
    checks += [
        Check(
            "moment shift",
            shift,
            error,
            limit_shift,
            shift < limit_shift,
            "the shape beyond means and spreads of single coordinates",
            True,
            f"A mean of the approximation is {shift:.2f} posterior sd away from its importance-weighted value.",
            "Resample by the weights (jensen.fit does) or use a richer family.",
            LOOSE if resampled else "a tenth of a posterior sd, as Yao, Vehtari, Simpson, Gelman (2018) aim for",
        ),
        Check(
            "moment width",
            width,
            error,
            limit_width,
            width < limit_width,
            "",
            True,
            f"A spread of the approximation is {100 * math.expm1(min(width, 20.0)):.0f} % off its reweighted value.",
            "Resample by the weights (jensen.fit does) or use a richer family.",
            LOOSE if resampled else "ten per cent, within which quantiles are of use",
        ),
    ]
    if weights.undefined > 0.01:
        share = weights.undefined
        words = f"The log density is NaN at {100 * share:.1f} % of the draws."
        advice = "Find the operation that gives NaN (log of a negative number, overflow) and mend the model."
        checks.append(Check("log density defined", share, 0.0, 0.01, False, "", True, words, advice))
    elbo = weights.elbo
    finite = math.isfinite(elbo)
    return Certificate(
        tuple(checks),
        khat,
        ess,
        elbo if finite else None,
        weights.elbo_error if finite else None,
        weights.bound if math.isfinite(weights.bound) else None,
        None,
        n,
    )
