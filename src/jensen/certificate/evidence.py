"""The evidence from draws of the posterior: the harmonic mean, tamed by a density fitted to the draws."""

import math
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jensen.certificate._pareto import smooth
from jensen.certificate.weights import khat_threshold
from jensen.core import Compiled, Density, InputError, PRNGKey, at_once, check_key, in_batches
from jensen.families import (
    Bijective,
    Builder,
    DiagonalGaussian,
    FullRank,
    Pushforward,
    fit_to_draws,
)
from jensen.families.fitting import gaussian_of_draws

MIN_SHARE = 0.2  # of the draws that the weights are worth: below, phi is too wide or of another shape
MIN_CHAINS = 4  # for a standard error from the spread between chains


class EvidenceEstimate(eqx.Module):
    """log Z in nats from draws of the posterior, and whether the weights behind it can be trusted.

    `standard_error`: of `log_evidence`. `khat`, `ess_share`: Pareto shape of the weights phi / p of the held-out draws,
    and their effective number over n. `holds`: k-hat below its threshold and ess_share at least 0.2. `phi`: the
    normalised density that was used. It is no bound: draws that miss a mode give an evidence without it.
    """

    log_evidence: float
    standard_error: float
    khat: float
    ess_share: float
    holds: bool
    phi: Density


def evidence_from_draws(
    key: PRNGKey, draws: Any, target: Any, *, family: Any = None, temperature: float = 0.8, steps: int = 1000
) -> EvidenceEstimate:
    """log Z by 1 / Z = E_posterior[phi(z) / p(z)], p unnormalised, for a normalised phi within the posterior.

    phi is fitted to one half of the draws and concentrated: the covariance of its noise times `temperature`. The mean
    is taken over the other half. Its relative variance is chi^2(phi || posterior) / n: infinite where phi has the
    heavier tails, the disease of the plain harmonic mean, which k-hat of the weights shows.

    Args:
        key: for the fit.
        draws: of the posterior in unconstrained coordinates: (n, d), independent, or (chains, n, d). The halves are of
            different chains where there are at least four.
        target: whose `log_density` is p.
        family: a builder of a bijection (`FullRank()` where None, `FlowBuilder()`), fitted by `fit_to_draws`; or a
            density that is used as it is, fitted to other draws.
        temperature: T in (0, 1].
        steps: of the fit. A Gaussian is fitted by its moments.

    Raises:
        InputError: for draws that are not finite or too few (at least 20 a half), a temperature outside (0, 1], a log
            density that is not finite at a draw, or a family that is neither bijection nor density.

    Source: McEwen, Wallis, Price and Spurio Mancini (2021); with flows: Polanska et al. (2024).
    """
    check_key(key)
    z = np.asarray(draws)
    if z.ndim not in (2, 3) or z.shape[-1] != target.space.dimension or not np.all(np.isfinite(z)):
        raise InputError(
            f"draws must be finite, of shape (n, d) or (chains, n, d) with d = {target.space.dimension}, got {z.shape}"
        )
    if not 0 < temperature <= 1:
        raise InputError(f"temperature must lie in (0, 1], got {temperature}: a wider phi has an infinite variance")
    chains = z if z.ndim == 3 else z[None]
    if len(chains) >= MIN_CHAINS:
        half = len(chains) // 2
        train, test = chains[:half], chains[half:]
    else:
        half = chains.shape[1] // 2
        train, test = chains[:, :half], chains[:, half:]
    d = z.shape[-1]
    if min(train.size, test.size) < 20 * d:
        raise InputError(f"{train.size // d} and {test.size // d} draws in the halves: at least 20 each are needed")
    phi = family
    if not isinstance(phi, Density):
        phi = _concentrated(
            key, FullRank() if family is None else family, jnp.asarray(train.reshape(-1, d)), temperature, steps
        )
    log_phi, log_p = map(np.asarray, _evaluate(phi, target, jnp.asarray(test.reshape(-1, d))))
    if not np.all(np.isfinite(log_p)):
        raise InputError("The log density is not finite at a draw: the draws are not of this target")
    return _summary(log_phi - log_p, len(test), phi)


def _concentrated(key: PRNGKey, family: Any, train: Float[Array, "n d"], temperature: float, steps: int) -> Density:
    if not isinstance(family, Builder):
        raise InputError(f"family must be a builder of a bijection or a density, got {type(family).__name__}")
    if isinstance(family, FullRank):
        q: Any = gaussian_of_draws(train)
    else:
        q = fit_to_draws(key, family, train, steps=steps)
    if not isinstance(q, Bijective):
        raise InputError(f"{type(q).__name__} is no bijection of noise, so that it cannot be concentrated")
    d = train.shape[1]
    narrow = DiagonalGaussian(jnp.zeros(d, train.dtype), jnp.full(d, 0.5 * math.log(temperature), train.dtype))
    return Pushforward(narrow, q)


@Compiled
def _evaluate(phi: Density, target: Any, z: Float[Array, "n d"]) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    both = lambda z: (phi.log_prob(z), target.log_density(z))  # noqa: E731
    return in_batches(both, z, at_once(target, 500))


def _summary(log_ratio: np.ndarray, num_chains: int, phi: Density) -> EvidenceEstimate:
    n, top = len(log_ratio), log_ratio.max()
    weights = np.exp(log_ratio - top)
    mean = weights.mean()
    _, khat = smooth(log_ratio)
    if num_chains >= 2 and n // num_chains >= 2:
        means = weights.reshape(num_chains, -1).mean(1)
        relative = means.std(ddof=1) / math.sqrt(num_chains) / mean
    else:
        relative = weights.std(ddof=1) / math.sqrt(n) / mean
    share = float(mean**2 / np.mean(weights**2))
    return EvidenceEstimate(
        float(-(top + math.log(mean))),
        float(relative),
        float(khat),
        share,
        bool(khat < khat_threshold(n) and share >= MIN_SHARE),
        phi,
    )
