"""P099: Gaussian processes in linear time for latent trajectories behind spike trains.

What is claimed: with Hida-Matern kernels in state-space form, conjugate-computation VI infers the trajectories behind
the spikes of a population in time linear in the number of bins, for any likelihood, without loss against the dense
Gaussian process; loadings are learned along the way, and the Whittle likelihood fits the kernel. Measured on spikes
drawn from the model (the recordings of the paper are not public); `full` adds the Van der Pol demonstration, and
held-out spikes of a retinal ganglion cell.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import minimize_scalar

import jensen as jn
from jensen.core import PointPosterior, no_sites
from jensen.gp import LatentModel
from jensen.gp.kernels import Matern32
from jensen.gp.likelihoods.readout import PoissonReadout
from jensen.gp.priors.state_space import StateSpace
from jensen.gp.state_space import hann, periodogram, whittle
from jensen_papers.gp._populations import (
    GAP,
    LENGTHSCALE,
    MODE,
    Population,
    em,
    fit,
    marginals,
    matern32,
    r2,
    smoothed,
)
from jensen_papers.result import Claim, Result

PAPER = "P099, abstract"


def reproduce(full: bool = False, figure: Path | None = None) -> Result:
    """Measure the claims in double precision, and write a figure to `figure` if given; `full` adds 50 neurons."""
    began = time.perf_counter()
    with jax.enable_x64(True):
        spikes = Population(500, seed=0)
        claims = [*_dense(spikes), *_linear(), *_readout(spikes, figure), _whittle()]
        if full:
            claims += [_van_der_pol(), _retina()]
    return Result("P099", "spike-trains", time.perf_counter() - began, tuple(claims))


def _dense(spikes: Population) -> list[Claim]:
    """The same fixed point by dense algebra in NumPy, with no jitter."""
    n, c = len(spikes.t), spikes.loading[:, 0]
    found = fit(_model(spikes, jnp.asarray(spikes.loading), jnp.asarray(spikes.offset)))
    ours = marginals(found.posterior.q)
    elbo = float(found.runs[-1].history.scalars["log_evidence"][-1])
    covariance = matern32(spikes.t)
    j, precision = np.zeros(n), np.zeros(n)
    for _ in range(20):
        root = np.sqrt(precision)
        inner = np.eye(n) + root[:, None] * covariance * root
        v = covariance - (covariance * root) @ np.linalg.solve(inner, root[:, None] * covariance)
        m, s = v @ j, np.diag(v)
        rate = np.exp(m[:, None] * c + spikes.offset + 0.5 * s[:, None] * c**2)
        precision = rate @ c**2
        j = (spikes.y - rate) @ c + precision * m
    from scipy.special import gammaln

    expected = np.sum(spikes.y * (m[:, None] * c + spikes.offset) - rate - gammaln(spikes.y + 1))
    # log det V - log det K = -log det(I + W^1/2 K W^1/2), tr(K^-1 V) = n - sum W_i V_ii, K^-1 m = j - W m
    divergence = 0.5 * (np.linalg.slogdet(inner)[1] - precision @ s + m @ (j - precision * m))
    gaps = [
        float(np.max(np.abs(ours.mean[:, 0] - m))),
        float(np.max(np.abs(ours.cov[:, 0, 0] - s))),
        abs(elbo - (expected - divergence)),
    ]
    words = "CVI on the state-space prior against dense CVI, both converged: largest difference of the"
    return [
        Claim(f"{words} {name}", f"{PAPER}: no approximation", gap, "< 1e-8", None, gap < 1e-8)
        for name, gap in zip(("means", "variances", "ELBO (nats)"), gaps, strict=True)
    ]


def _model(spikes: Population, loading: Any, offset: Any) -> LatentModel:
    return LatentModel(StateSpace(Matern32(LENGTHSCALE), spikes.t), PoissonReadout(loading, offset), spikes.y)


def _linear(short: int = 500, long: int = 8000) -> list[Claim]:
    """CPU seconds of one conditioning, sequential, and of the dense one at 2,000 bins; least of twenty, in turn."""

    def seconds(run: Callable[[], Any]) -> float:
        began = time.process_time()
        jax.block_until_ready(run())
        return time.process_time() - began

    @eqx.filter_jit
    def sweeps(prior: Any, sites: Any) -> Any:
        # several in one program, so that the call itself is not what is timed
        def one(total: Any, _: Any) -> Any:
            linear = sites.linear + 1e-12 * total
            return prior.condition(eqx.tree_at(lambda s: s.linear, sites, linear)).log_normaliser, None

        return jax.lax.scan(one, jnp.zeros(()), None, length=4)[0]

    given = {}
    for n in (short, 2000, long):
        sites = no_sites(n)
        sites = eqx.tree_at(lambda s: s.precision, sites, sites.precision + 1.0)
        given[n] = StateSpace(Matern32(LENGTHSCALE), GAP * np.arange(n), blocks=1), sites
        sweeps(*given[n])
    rounds = [{n: seconds(lambda pair=pair: sweeps(*pair)) / 4 for n, pair in given.items()} for _ in range(20)]
    times = {n: min(row[n] for row in rounds) for n in given}
    covariance = matern32(GAP * np.arange(2000)) + np.eye(2000)
    dense = seconds(lambda: np.linalg.inv(covariance))
    growth, bins = times[long] / times[short], long // short
    return [
        Claim(
            f"CPU time of a sweep over {long} bins, in that over {short} ({bins} times fewer)",
            f"{PAPER}: linear time",
            growth,
            f"< {2 * bins}: {bins} is linear, {bins**2} quadratic",
            None,
            growth < 2 * bins,
            timed=True,
        ),
        Claim(
            "CPU seconds of a sweep over 2,000 bins, against one dense inverse of that size",
            f"{PAPER}: linear time",
            times[2000],
            "< baseline",
            dense,
            times[2000] < dense,
            timed=True,
        ),
    ]


def _readout(spikes: Population, figure: Path | None) -> list[Claim]:
    """Loadings and offsets by variational EM; the trajectory against factor analysis of smoothed counts."""
    counts = smoothed(spikes.y, 5.0)
    factor = np.linalg.svd(counts - counts.mean(0), full_matrices=False)[0][:, 0]
    baseline = r2(factor[:, None], spikes.x)
    # EM starts from the loadings of that factor
    loading = jnp.asarray(np.std(factor) ** -1 * (np.log(counts + 0.05) - np.log(counts + 0.05).mean(0)).T @ factor)
    loading, offset = loading[:, None] * float(np.var(factor)), jnp.log(jnp.asarray(spikes.y.mean(0)) + 1e-3)
    found, _, _ = em(_model(spikes, loading, offset), spikes.y)
    q = marginals(found)
    ours = r2(np.asarray(q.mean), spikes.x)
    if figure is not None:
        _draw(spikes, np.asarray(q.mean[:, 0]), np.sqrt(np.asarray(q.cov[:, 0, 0])), factor, figure)
    return [
        Claim(
            "R^2 of the latent trajectory after affine alignment, loadings learned, against factor analysis of "
            "smoothed counts",
            f"{PAPER}: trajectories inferred",
            ours,
            "> baseline",
            baseline,
            ours > baseline,
        )
    ]


def _whittle(n: int = 1000) -> Claim:
    """Lengthscale and variance of a noise-free draw, by the Whittle likelihood and by exact maximum likelihood."""
    from scipy.linalg import solve_triangular

    t = GAP * np.arange(n)
    x = np.linalg.cholesky(matern32(t) + 1e-12 * np.eye(n)) @ np.random.default_rng(3).normal(size=n)

    def profile(log_lengthscale: float) -> float:
        tril = np.linalg.cholesky(matern32(t, float(np.exp(log_lengthscale))) + 1e-10 * np.eye(n))
        white = solve_triangular(tril, x, lower=True)
        return n * np.log(np.mean(white**2)) + 2 * np.sum(np.log(np.diag(tril)))

    found: Any = minimize_scalar(profile, bounds=(-2.5, 1.5), method="bounded", options={"xatol": 0.02})
    exact = np.exp(found.x)
    target = jn.targets.from_log_density(_spectral, np.zeros(2), periodogram(jnp.asarray(x), hann(n)), hann(n))
    start = PointPosterior(target.space, jnp.zeros(2))
    fit = jn.run(MODE, target, key=jax.random.key(0), start=start, certify=False, progress=False)
    assert isinstance(fit.posterior, PointPosterior)
    ratio = float(np.exp(fit.posterior.z[0])) / exact
    return Claim(
        f"Lengthscale by the Whittle likelihood over that by dense maximum likelihood, {n} noise-free values",
        f"{PAPER}: efficient hyperparameter learning",
        ratio,
        "in [0.75, 1.25]",
        None,
        0.75 < ratio < 1.25,
    )


def _spectral(theta: Any, observed: Any, taper: Any) -> Any:
    return whittle(Matern32(jnp.exp(theta[0]), jnp.exp(theta[1])), observed, GAP, taper)


def _van_der_pol(trials: int = 10, bins: int = 500, neurons: int = 50) -> Claim:
    """Two coordinates of an oscillator behind 50 neurons, three latent functions; trials are far apart in time."""
    rng = np.random.default_rng(0)
    paths = []
    for _ in range(trials):
        state, path = rng.normal(size=2), []
        for _ in range(bins):
            for _ in range(10):
                x, v = state
                state = state + 0.1 * GAP * 5.0 * np.array([v, 1.5 * (1 - x**2) * v - x])
            path.append(state)
        paths.append(path)
    x = np.concatenate(paths)
    x = (x - x.mean(0)) / x.std(0)
    t = np.concatenate([1e4 * k + GAP * np.arange(bins) for k in range(trials)])
    loading = rng.normal(size=(neurons, 2)) / np.sqrt(2)
    y = rng.poisson(np.exp(x @ loading.T + np.log(5 * GAP))).astype(float)
    counts = np.concatenate([smoothed(trial, 5.0) for trial in y.reshape(trials, bins, neurons)])
    u, s, v = np.linalg.svd(counts - counts.mean(0), full_matrices=False)
    start = (v[:3].T * s[:3]) / np.sqrt(len(y)) / y.mean(0)[:, None]
    prior = StateSpace([Matern32(LENGTHSCALE)] * 3, t)
    model = LatentModel(prior, PoissonReadout(jnp.asarray(start), jnp.log(jnp.asarray(y.mean(0)))), y)
    q, _, _ = em(model, y, rounds=15)
    ours, baseline = r2(np.asarray(marginals(q).mean), x), r2(u[:, :3], x)
    return Claim(
        f"R^2 of a Van der Pol oscillator behind {neurons} neurons, {trials} trials of {bins} bins, 3 latents",
        "Demonstration of the co-author's re-implementation: 0.972",
        ours,
        "> 0.9, > baseline",
        baseline,
        ours > max(0.9, baseline),
    )


@eqx.filter_jit
def _predicted(likelihood: Any, mean: Any, cov: Any) -> Any:
    return jax.vmap(likelihood.predict)(mean, cov)[0]


def _retina(width: float = 0.02, folds: int = 5) -> Claim:
    """Held-out spikes of a retinal ganglion cell (blocks of 0.2 s), against a histogram of 0.5 s bins."""
    spikes = np.asarray(jn.datasets.load("neural_spikes")["retina_low_light"])
    edges = np.arange(0, 30 + width / 2, width)
    counts, t = np.histogram(spikes, edges)[0].astype(float), edges[:-1] + width / 2
    fold = (np.floor(t / 0.2).astype(int)) % folds
    ours = baseline = 0.0
    for k in range(folds):
        train = fold != k
        model = LatentModel(
            StateSpace(Matern32(0.5), t[train]),
            PoissonReadout(jnp.ones((1, 1)), jnp.log(jnp.asarray([counts[train].mean()]))),
            counts[train][:, None],
        )
        q = fit(model).posterior.q
        mean, cov = q.predict(t[~train])
        rate = np.asarray(_predicted(model.likelihood, mean, cov))[:, 0]
        ours += np.sum(counts[~train] * np.log(rate) - rate)
        bins = np.floor(t / 0.5).astype(int)
        total, seen = (np.bincount(bins[train], w, bins.max() + 1) for w in (counts[train], np.ones(train.sum())))
        flat = ((total + counts[train].mean()) / (seen + 1))[bins[~train]]
        baseline += np.sum(counts[~train] * np.log(flat) - flat)
    gain = float((ours - baseline) / counts.sum())
    return Claim(
        "Held-out log likelihood a spike (nats) of a retinal ganglion cell above a histogram of 0.5 s",
        f"{PAPER}: neural recordings",
        gain,
        "> 0",
        0.0,
        gain > 0,
    )


def _draw(spikes: Population, mean: np.ndarray, sd: np.ndarray, factor: np.ndarray, path: Path) -> None:
    """The trajectory, its posterior, and the factor, each aligned to the truth."""
    from matplotlib.figure import Figure

    def aligned(v: np.ndarray) -> tuple[float, float]:
        slope, shift = np.polyfit(v, spikes.x, 1)
        return float(slope), float(shift)

    figure = Figure(figsize=(7, 3.2), layout="constrained")
    axes = figure.subplots()
    (slope, shift), (of_factor, level) = aligned(mean), aligned(factor)
    centre, width = slope * mean + shift, 1.645 * abs(slope) * sd
    axes.fill_between(spikes.t, centre - width, centre + width, alpha=0.3, label="90 % of q")
    axes.plot(spikes.t, centre, label="CVI, state space")
    axes.plot(spikes.t, of_factor * factor + level, linewidth=0.8, label="factor analysis")
    axes.plot(spikes.t, spikes.x, color="black", linewidth=1.0, label="truth")
    axes.set(xlabel="seconds", ylabel="log rate of a unit loading")
    axes.legend(ncols=2, fontsize="small")
    figure.savefig(path)
