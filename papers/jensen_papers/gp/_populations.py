"""Spike counts behind one trajectory, and the fits of trajectory and readout that `spike_trains` measures."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import jensen as jn
from jensen.core import PointPosterior
from jensen.gp.latent import LatentModel
from jensen.gp.likelihoods import PoissonReadout

GAP, LENGTHSCALE, NEURONS, RATE = 0.02, 0.5, 10, 0.3
CVI, MODE = jn.algorithms.CVI(tolerance=1e-10), jn.algorithms.Mode(num_starts=1)


def matern32(t: np.ndarray, lengthscale: float = LENGTHSCALE) -> np.ndarray:
    """The dense covariance, written out."""
    r = np.sqrt(3) * np.abs(t[:, None] - t) / lengthscale
    return (1 + r) * np.exp(-r)


class Population:
    """Spike counts of `NEURONS` neurons in n bins, driven by one Matern-3/2 trajectory."""

    def __init__(self, n: int, seed: int):
        rng = np.random.default_rng(seed)
        self.t = GAP * np.arange(n)
        self.x = np.linalg.cholesky(matern32(self.t) + 1e-10 * np.eye(n)) @ rng.normal(size=n)
        self.loading = rng.normal(size=(NEURONS, 1))
        self.offset = np.full(NEURONS, np.log(RATE))
        self.y = rng.poisson(np.exp(self.x[:, None] * self.loading[:, 0] + self.offset)).astype(float)


def fit(target: Any, start: Any = None) -> Any:
    start = PointPosterior(target.space, jnp.zeros(target.space.dimension)) if start is None else start
    return jn.run(CVI, target, key=jax.random.key(0), start=start, certify=False, progress=False)


@eqx.filter_jit
def marginals(q: Any) -> Any:
    return q.marginals()


def em(model: LatentModel, y: Any, rounds: int = 8) -> tuple[Any, Any, Any]:
    """CVI for the trajectory, then loadings and offsets that raise its expected log likelihood; (q, C, d)."""
    start: Any = None
    likelihood: Any = model.likelihood
    for _ in range(rounds):
        q = fit(eqx.tree_at(lambda m: m.likelihood, model, likelihood), start).posterior
        given = marginals(q.q)
        target = jn.targets.from_log_density(
            _expected,
            (np.zeros(likelihood.loading.shape), np.zeros(likelihood.offset.shape)),
            y,
            given.mean,
            given.cov,
        )
        at = jnp.concatenate([likelihood.loading.ravel(), likelihood.offset])
        best = jn.run(
            MODE,
            target,
            key=jax.random.key(1),
            start=PointPosterior(target.space, at),
            certify=False,
            progress=False,
        ).posterior
        assert isinstance(best, PointPosterior)
        size = likelihood.loading.size
        likelihood = PoissonReadout(best.z[:size].reshape(likelihood.loading.shape), best.z[size:])
        start = q
    return q.q, likelihood.loading, likelihood.offset


def _expected(parameters: Any, y: Any, mean: Any, cov: Any) -> Any:
    """E_q[log p(y | f)] up to a constant; a weak prior on the loadings keeps silent neurons finite."""
    loading, offset = parameters
    log_rate = mean @ loading.T + offset
    inflated = jnp.exp(log_rate + 0.5 * jnp.einsum("jk,nkl,jl->nj", loading, cov, loading))
    return jnp.sum(y * log_rate - inflated) - 0.05 * (jnp.sum(loading**2) + jnp.sum(offset**2))


def smoothed(y: np.ndarray, sd: float) -> np.ndarray:
    from scipy.ndimage import gaussian_filter1d

    return gaussian_filter1d(y, sd, axis=0)


def r2(estimate: np.ndarray, truth: np.ndarray) -> float:
    """Share of the variance of `truth` that an affine map of `estimate` explains."""
    design = np.concatenate([estimate, np.ones((len(estimate), 1))], 1)
    truth = truth.reshape(len(truth), -1)
    left = truth - design @ np.linalg.lstsq(design, truth, rcond=None)[0]
    return float(1 - np.sum(left**2) / np.sum((truth - truth.mean(0)) ** 2))
