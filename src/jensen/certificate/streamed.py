"""What certifies a posterior whose data are read from disk: passes over all rows, and climbs on some of them."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jensen.certificate.chains import batch
from jensen.certificate.modes import (
    MAX_DIMENSION,
    Modes,
    climb,
    density_check,
    draws_check,
    evidence_check,
    gaussian_evidence,
    search,
)
from jensen.certificate.weights import Weights, summarise
from jensen.core import Certificate, Check, Compiled, Density, DensityPosterior, DrawsPosterior, PRNGKey, stream
from jensen.core.random import POSTERIOR, SEARCH

PASSES = 12  # Newton steps on all rows for the modes that climbs on some rows have led to
MOST_MODES = 4
BOUND_DRAWS = 64
ARRIVED = 0.1  # Newton decrement, in posterior standard deviations
APART = 5.0  # distance of two modes of some rows, in their own standard deviations, from which on they are two


def weigh_by_pass(key: PRNGKey, q: Density, target: Any, num_draws: int) -> Weights:
    """Fresh draws of q and their weights p / q, the log densities by one pass over all rows."""
    z, log_q = map(np.asarray, _sample(key, q, num_draws))
    return summarise(z, target.log_densities(z) - log_q)


@Compiled
def _sample(key: PRNGKey, q: Density, num_draws: int) -> tuple[Array, Array]:
    return jax.vmap(q.sample_and_log_prob)(jax.random.split(key, num_draws))


def certify_modes(key: PRNGKey, posterior: Any, target: Any, weights: Weights | None) -> Certificate:
    """Whether a mode elsewhere holds mass: climbs on some rows find it, Newton steps on all rows judge it.

    Climbs go from dispersed starts, and from the posterior's mean, on the log density of some rows scaled to all. Where
    they all end at one place there is nothing to judge of a density (`weights` are of its draws); else each other
    place is followed on all rows, a pass a step, and judged by the density and curvature there. Of draws (no
    `weights`) the mode that they lie around is followed too: the ELBO of its Gaussian must not exceed the evidence
    that they account for, which draws that noise has spread out do not reach.
    """
    d, draws = target.space.dimension, isinstance(posterior, DrawsPosterior)
    if d > MAX_DIMENSION:
        why = f"{d} unknowns are more than the {MAX_DIMENSION} that climbs are made for"
        return Certificate((_not_searched(why, draws),))
    centre = np.asarray(posterior.mean_and_cov()[0])[None]
    found = search(stream(key, SEARCH), target.some)
    places = _elsewhere(found, climb(target.some, jnp.asarray(centre)))
    if places is None:
        return Certificate((_not_searched("no climb on some of the rows arrived at a maximum", draws),))
    if not len(places) and not draws:
        return Certificate((_one_mode(len(found.z), target.some.held),))
    modes = _followed(np.concatenate([centre, places[:MOST_MODES]]) if draws else places[:MOST_MODES], target)
    lost = int(np.sum(~np.asarray(modes.arrived)))
    if lost:
        return Certificate((_not_followed(lost),))
    if not draws:
        assert weights is not None
        q = posterior.q if isinstance(posterior, DensityPosterior) else posterior.proposal
        return Certificate((density_check(modes, q, weights.log_evidence),))
    z = batch(posterior.pooled)
    level = float(gaussian_evidence(z, jnp.asarray(target.log_densities(z))))
    modes = _with_bounds(stream(key, POSTERIOR), modes, target)
    checks = [evidence_check(modes, level)]
    checks.append(draws_check(modes, z, level) if len(places) else _one_mode(len(found.z), target.some.held))
    return Certificate(tuple(checks))


def _with_bounds(key: PRNGKey, modes: Modes, target: Any) -> Modes:
    """The modes with the ELBO of N(z, (-H)^-1) at each, by antithetic draws and one pass."""
    k, d = modes.z.shape
    half = np.asarray(jax.random.normal(key, (BOUND_DRAWS // 2, d), modes.z.dtype))
    noise = np.concatenate([half, -half])
    precision = np.linalg.cholesky(-np.asarray(modes.hessian))  # of arrived ones: positive definite
    steps = np.linalg.solve(np.swapaxes(precision, 1, 2)[:, None], noise[None, :, :, None])[..., 0]
    z = (np.asarray(modes.z)[:, None] + steps).reshape(-1, d)
    log_det = np.log(np.diagonal(precision, axis1=1, axis2=2)).sum(1)
    entropy = 0.5 * d * (1 + math.log(2 * math.pi)) - log_det
    elbo = np.mean(target.log_densities(z).reshape(k, -1), 1) + entropy
    return eqx.tree_at(lambda m: m.elbo, modes, jnp.asarray(elbo))


def _elsewhere(found: Modes, own: Modes) -> np.ndarray | None:
    """Places of the modes that are not where the posterior is, highest first; None where no climb arrived."""
    arrived = np.asarray(found.arrived) & np.isfinite(np.asarray(found.log_density))
    if not np.any(arrived):
        return None
    order = np.argsort(-np.where(arrived, np.asarray(found.log_density), -np.inf))[: int(np.sum(arrived))]
    kept: list[int] = []
    known = [np.asarray(own.z)[0]] if bool(own.arrived[0]) else []
    z, hessian = np.asarray(found.z), np.asarray(found.hessian)
    for i in order:
        offsets = np.asarray([z[i] - other for other in known]).reshape(len(known), -1)
        distances = np.einsum("kd,de,ke->k", offsets, -hessian[i], offsets)
        if np.all(distances > APART**2 + z.shape[1]):
            kept.append(int(i))
            known.append(z[i])
    return z[kept]


def _followed(z: np.ndarray, target: Any) -> Modes:
    """Newton steps on all rows from each place, shortened where the density would fall."""
    value, gradient, hessian = target.curvatures(z)
    arrived = np.zeros(len(z), bool)
    for _ in range(PASSES):
        steps, decrements = _newton(gradient, hessian)
        arrived = decrements < ARRIVED
        if np.all(arrived):
            break
        trial = np.where(arrived[:, None], z, z + steps)
        new = target.curvatures(trial)
        better = np.isfinite(new[0]) & (new[0] >= value - 1e-6) & ~arrived
        for k in np.flatnonzero(~better & ~arrived):  # a smaller step next time
            hessian[k] = hessian[k] - np.eye(z.shape[1]) * np.max(np.abs(hessian[k]))
        z = np.where(better[:, None], trial, z)
        value, gradient = np.where(better, new[0], value), np.where(better[:, None], new[1], gradient)
        hessian = np.where(better[:, None, None], new[2], hessian)
    unknown = jnp.full(len(z), -jnp.inf)
    return Modes(jnp.asarray(z), jnp.asarray(value), jnp.asarray(hessian), jnp.asarray(arrived), unknown)


def _newton(gradient: np.ndarray, hessian: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ascent steps by the absolute curvature, and their lengths in it (infinite at no maximum)."""
    values, vectors = np.linalg.eigh(-hessian)
    size = np.maximum(np.abs(values), 1e-10 * np.max(np.abs(values), axis=1, keepdims=True))
    along = np.einsum("kde,kd->ke", vectors, gradient)
    steps = np.einsum("kde,ke->kd", vectors, along / size)
    lengths = np.sqrt(np.sum(along**2 / size, axis=1))
    return steps, np.where(np.all(values > 0, axis=1), lengths, np.inf)


def _one_mode(climbs: int, rows: int) -> Check:
    return Check(
        "missed modes",
        0.0,
        0.0,
        0.01,
        True,
        f"modes of all rows that {rows} of them do not show, or that no climb leads to",
        True,
        source=f"{climbs} climbs on {rows} of the rows, scaled to all",
    )


def _not_followed(count: int) -> Check:
    return Check(
        "missed modes",
        float(count),
        0.0,
        1.0,
        False,
        "",
        True,
        f"Climbs on some of the rows ended in {count} other place(s), where {PASSES} passes over all rows found no "
        "maximum: whether a mode is there is not known.",
        "Look at the posterior from other starts (jensen.run with start=), or give weakly identified unknowns a prior.",
    )


def _not_searched(why: str, draws: bool) -> Check:
    """Of draws it fails: that chains of noisy steps agree does not tell how far noise has spread them out."""
    words = f"Modes elsewhere, and the evidence that the draws account for, were not looked for: {why}."
    advice = "Certify against the rows in memory, or fit a density to the draws and certify that."
    return Check("missed modes", float("nan"), 0.0, 0.01, False if draws else None, "", draws, words, advice)
