"""Modes from other starting points: what fresh draws of an approximation cannot tell of."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jensen._numerics.newton import ALL, Climb, ended, newton_step, start_climb
from jensen.core import Check, Compiled, PRNGKey, at_once, spread
from jensen.families import Augmented

MAX_DIMENSION = 200  # Hessians of more coordinates are too dear for a check
MAX_SHARE = 0.01
MIN_RATIO = math.log(20.0)
NUM_STARTS = 16
STEPS = 60
WIDE = 5.0
MAX_EXCESS = 2.0  # nats; a bound from 8 draws is noisy, though its expectation is below the log evidence


class Modes(eqx.Module):
    """Modes found by climbing: places, log densities, Hessians there, and whether each climb arrived at a maximum.

    `elbo`: the highest ELBO of a local Gaussian on the way to each, a lower bound on the log evidence.
    """

    z: Float[Array, "k d"]
    log_density: Float[Array, " k"]
    hessian: Float[Array, "k d d"]
    arrived: Bool[Array, " k"]
    elbo: Float[Array, " k"]

    def log_mass(self) -> np.ndarray:
        """Laplace mass log p(z*) + d/2 log 2 pi - 1/2 log det(-H), shape (k,), -inf where the climb did not arrive."""
        hessian = np.asarray(self.hessian)
        finite = np.all(np.isfinite(hessian), axis=(1, 2))
        eigenvalues = np.linalg.eigvalsh(np.where(finite[:, None, None], -hessian, 0.0))
        proper = np.asarray(self.arrived) & np.all(eigenvalues > 0, axis=-1)
        log_det = np.sum(np.log(np.where(eigenvalues > 0, eigenvalues, 1.0)), axis=-1)
        mass = np.asarray(self.log_density) + 0.5 * self.z.shape[1] * math.log(2 * math.pi) - 0.5 * log_det
        return np.where(proper, mass, -np.inf)


def modes_of(climbs: Climb, decrement: Float[Array, " k"], tolerance: float = 0.1) -> Modes:
    """The modes at which climbs ended: those whose Newton decrement is below `tolerance` posterior sd."""
    return Modes(climbs.z, climbs.value, climbs.hessian, decrement < tolerance, climbs.elbo)


@Compiled
def search(key: PRNGKey, target: Any, num_starts: int = NUM_STARTS) -> Modes:
    """Damped Newton from `num_starts` draws of `target.start`, half of them thrown five times as wide.

    Cost: 60 steps of d + 1 gradients a start. Starts where log p is not finite stay there and count for nothing.
    """
    draws = jax.vmap(target.start)(jax.random.split(key, num_starts))
    widths = jnp.where(jnp.arange(num_starts) % 2 == 0, 1.0, WIDE)
    return climb(target, (draws * widths[:, None]).astype(draws.dtype))


@Compiled
def climb(target: Any, starts: Float[Array, "k d"]) -> Modes:
    """Damped Newton from these starts."""
    climbs = jax.vmap(start_climb)(spread(starts))
    decrements = jnp.full(starts.shape[0], jnp.inf, starts.dtype)
    each = -(-at_once(target, ALL) // len(starts))

    def go_on(carry: Any) -> Bool[Array, ""]:
        i, climbs, decrements = carry
        return (i < STEPS) & ~jnp.all(jax.vmap(lambda c, size: ended(c, size, 1e-3))(climbs, decrements))

    def body(carry: Any) -> Any:
        i, climbs, _ = carry
        return i + 1, *jax.vmap(lambda c: newton_step(target.log_density, c, each))(climbs)

    _, climbs, decrements = jax.lax.while_loop(go_on, body, (jnp.zeros((), jnp.int32), climbs, decrements))
    return modes_of(climbs, decrements)


def _missed(share: float, k: int, words: str) -> Check:
    return Check(
        "missed modes",
        share,
        0.0,
        MAX_SHARE,
        share < MAX_SHARE,
        "modes that no climb from the starting points leads to, and mass that is not around a mode",
        True,
        f"Climbs from {k} other starting points found a mode with about {100 * min(share, 1.0):.0f} % of the "
        f"posterior's mass {words}.",
        "Use SMC from a wide reference, or a mixture; check whether the model is identified (label switching).",
        "Laplace mass of the mode against the evidence estimate; one per cent",
    )


def evidence_check(modes: Modes, log_evidence: float) -> Check:
    """Fails if a lower bound on the log evidence, met on a climb, exceeds what the posterior accounts for.

    Lower bounds hold whatever the local Gaussian is, so that an excess beyond noise proves that mass is missing.
    """
    elbos = np.asarray(modes.elbo)
    elbo = float(np.max(np.where(np.isfinite(elbos), elbos, -np.inf)))
    excess = float(elbo - log_evidence)
    return Check(
        "evidence elsewhere",
        excess,
        0.0,
        MAX_EXCESS,
        None if math.isnan(excess) else excess < MAX_EXCESS,
        "mass that no climb from the starting points passes through",
        True,
        f"A local Gaussian on the way of a climb has an ELBO {excess:.1f} nats above the evidence that the result "
        "accounts for: it sits where the posterior has hardly any mass.",
        "Use another start or a sampler; a centred hierarchical scale wants the non-centred form.",
        "the ELBO is a lower bound; Zhang, Carpenter, Gelman, Vehtari (2022) on local Gaussians along a path",
    )


@Compiled
def _log_prob(q: Any, z: Float[Array, "k d"]) -> Float[Array, " k"]:
    if isinstance(q, Augmented):  # no density at given points: an estimate from below, so that a mode is rather missed
        return jax.vmap(q.estimate_log_prob)(jax.random.split(jax.random.key(0), z.shape[0]), z)
    return jax.vmap(q.log_prob)(z)


def density_check(modes: Modes, q: Any, log_evidence: float) -> Check:
    """Fails if a mode holds over 1 % of the mass and q has less than a twentieth of the posterior's density there."""
    mass, log_q, log_p = modes.log_mass(), np.asarray(_log_prob(q, modes.z)), np.asarray(modes.log_density)
    share = np.exp(np.nan_to_num(mass - np.logaddexp(mass, log_evidence), nan=-np.inf))
    missed = np.where(log_p - log_evidence - log_q > MIN_RATIO, share, 0.0)
    return _missed(float(np.max(np.nan_to_num(missed))), len(mass), "where the approximation has next to none")


def proper_check(modes: Modes) -> Check:
    """Fails if no climb arrived at a proper maximum. For particles that were tempered from a proper reference.

    Populations that start from one reference agree also where the target has no finite mass: an improper posterior
    keeps the spread that it was begun with.
    """
    found = int(np.sum(np.isfinite(modes.log_mass())))
    return Check(
        "proper maximum",
        float(found),
        0.0,
        1.0,
        found >= 1,
        "a posterior that is improper although it has a proper maximum (a flat tail)",
        True,
        "No climb arrived at a proper maximum: the posterior may be improper, which tempered particles cannot tell.",
        "Give every unknown a proper prior, or use NUTS.",
    )


@Compiled
def gaussian_evidence(z: Float[Array, "n d"], log_p: Float[Array, " n"]) -> Float[Array, ""]:
    """Mean log density of draws plus the entropy of a Gaussian of their covariance: at least E log p + H(p) = log Z."""
    d = z.shape[1]
    log_det = jnp.linalg.slogdet(jnp.atleast_2d(jnp.cov(z, rowvar=False)))[1]
    return jnp.mean(jnp.where(jnp.isfinite(log_p), log_p, 0.0)) + 0.5 * (d * (1 + math.log(2 * math.pi)) + log_det)


def _draws_gap(modes: Modes, z: np.ndarray, log_evidence: float) -> float:
    d = z.shape[1]
    mass = modes.log_mass()
    share = np.exp(np.nan_to_num(mass - np.logaddexp(mass, log_evidence), nan=-np.inf))
    offsets = z[None] - np.asarray(modes.z)[:, None]
    distance = np.sum((offsets @ -np.asarray(modes.hessian)) * offsets, axis=-1)
    # a Gaussian at the mode has this distance below d + 5 sqrt(2 d) but for one draw in a million
    near = np.mean(distance < d + 5 * math.sqrt(2.0 * d), axis=1)
    return float(np.max(np.where(near < 0.05 * share, share, 0.0)))


def draws_check(modes: Modes, z: Float[Array, "n d"], log_evidence: float) -> Check:
    """Fails if a mode holds over 1 % of the mass and fewer than a twentieth of its due draws are near."""
    return _missed(
        _draws_gap(modes, np.asarray(z), log_evidence), len(modes.log_density), "near which there are no draws"
    )
