"""P091: cluster-specific predictions with multi-task Gaussian processes, MagmaClust (Leroy et al. 2023).

What is claimed: a mixture of multi-task Gaussian processes with common mean processes, fitted by variational EM, finds
groups of curves on irregular grids, and predicts new curves better than one group for all, with calibrated
uncertainty. The baselines are the same with one cluster, a Gaussian process a curve, and k-means on interpolated
curves. `--full` takes 30 simulated sets for 3.
"""

import time
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.cluster.vq
import scipy.stats

import jensen as jn
from jensen.gp import EvidenceTarget
from jensen.gp.kernels import RBF
from jensen.gp.multi_task_clusters import (
    Clustering,
    CurveClusters,
    Curves,
    MeanProcesses,
    assignments,
    bound_of,
    cluster_curves,
    curve_bound,
    mean_processes,
    pool_curves,
    predict_curve,
)
from jensen_papers.result import Claim, Result

PAPER = "Leroy et al. (2023)"
GRID = np.linspace(0, 10, 40)
CLUSTERS, EACH, NEW = 3, 15, 10


def reproduce(full: bool = False, figure: Path | None = None) -> Result:
    """Measure the claims in double precision, and write a figure to `figure` if given; `full` takes more sets."""
    began = time.perf_counter()
    with jax.enable_x64(True):
        sets = [_simulated(seed) for seed in range(30 if full else 3)]
        found = [_measured(*data) for data in sets]
        claims = [_monotone(sets), _exact(sets[0][0]), *_groups(found), *_predictions(found)]
        if figure is not None:
            _draw(sets[0], figure)
    return Result("P091", "curve-clusters", time.perf_counter() - began, tuple(claims))


def _model(common: tuple[float, float], own: tuple[float, float], noise: float) -> CurveClusters:
    """Lengthscale and variance of the mean processes and of the curves' own, and the variance of the noise."""
    mean, task = (RBF(jnp.asarray(length), jnp.asarray(variance)) for length, variance in (common, own))
    return CurveClusters(mean, task, noise)


def _truth() -> CurveClusters:
    return _model((2.0, 9.0), (1.0, 0.49), 0.04)


def _simulated(seed: int) -> tuple[Curves, np.ndarray, list[np.ndarray]]:
    """Curves on irregular grids, their groups, and whole new curves."""
    rng = np.random.default_rng(seed)
    t = jnp.asarray(GRID)
    kernels = (_truth().mean_kernel, _truth().task_kernel)
    roots = [np.linalg.cholesky(np.asarray(k(t, t)) + 1e-8 * np.eye(40)) for k in kernels]
    means = rng.normal(size=(CLUSTERS, 40)) @ roots[0].T

    def curve(group: Any) -> np.ndarray:
        return means[group] + roots[1] @ rng.normal(size=40) + 0.2 * rng.normal(size=40)

    groups = np.repeat(np.arange(CLUSTERS), EACH)
    seen = []
    for group in groups:
        at = np.sort(rng.choice(40, rng.integers(8, 16), replace=False))
        seen.append((GRID[at], curve(group)[at]))
    return pool_curves(seen, also=GRID), groups, [curve(rng.integers(CLUSTERS)) for _ in range(NEW)]


def _start(curves: Curves, clusters: int) -> np.ndarray:
    """Groups of k-means on interpolated curves, the best of five runs."""
    values, observed = np.asarray(curves.values), np.asarray(curves.observed) > 0
    lines = np.stack([np.interp(GRID, GRID[o], v[o]) for v, o in zip(values, observed, strict=True)])
    runs = [scipy.cluster.vq.kmeans2(lines, clusters, minit="++", rng=seed) for seed in range(5)]
    spread = [np.sum((lines - centres[labels]) ** 2) for centres, labels in runs]
    return np.eye(clusters)[runs[int(np.argmin(spread))][1]]


def _fitted(curves: Curves, start: np.ndarray) -> tuple[CurveClusters, Clustering]:
    """Variational EM: assignments, then hyperparameters by L-BFGS on the bound, then assignments again."""
    model, tau = _model((1.0, 4.0), (1.0, 1.0), 0.1), jnp.asarray(start)
    target = EvidenceTarget(curve_bound, model, curves, cluster_curves(model, curves, tau, 15).tau)
    begin = jn.core.PointPosterior(target.space, target.hyperparameters.theta)
    mode = jn.algorithms.Mode(num_starts=1, tolerance=0.1)
    fit = jn.run(mode, target, key=jax.random.key(0), steps=20, start=begin, certify=False, progress=False)
    model = target.hyperparameters.at(fit.posterior.mean_and_cov()[0])
    return model, cluster_curves(model, curves, tau, 15)


def _alone(model: CurveClusters) -> Clustering:
    """One cluster of which nothing is known: a Gaussian process a curve."""
    t = jnp.asarray(GRID)[:, None]
    covs = jnp.broadcast_to(model.mean_kernel(t, t), (CLUSTERS, 40, 40))
    prior = MeanProcesses(jnp.zeros((CLUSTERS, 40)), covs, jnp.zeros(CLUSTERS))
    return Clustering(jnp.ones((1, CLUSTERS)), jnp.ones(CLUSTERS) / CLUSTERS, prior, jnp.zeros(1))


def _measured(curves: Curves, groups: np.ndarray, new: list[np.ndarray]) -> dict[str, Any]:
    start = _start(curves, CLUSTERS)
    model, clustering = _fitted(curves, 0.9 * start + 0.1 / CLUSTERS)
    # one cluster as the first of three, the others empty: the same compiled programs
    pooled, together = _fitted(curves, np.eye(CLUSTERS)[np.zeros(len(groups), int)])
    seen = jnp.asarray(GRID < 5, float)
    errors, levels = [], []
    for y in new:
        values = jnp.asarray(y) * seen
        ours = predict_curve(model, curves.grid, clustering, values, seen)
        others = (
            predict_curve(pooled, curves.grid, together, values, seen),
            predict_curve(model, curves.grid, _alone(model), values, seen),
        )
        hidden = GRID >= 5
        errors.append([np.mean((np.asarray(p.mean) - y)[hidden] ** 2) for p in (ours, *others)])
        spread = np.sqrt(np.diagonal(np.asarray(ours.covs), axis1=1, axis2=2))
        levels.append((np.asarray(ours.tau) @ scipy.stats.norm.cdf((y - np.asarray(ours.means)) / spread))[hidden])
    return {
        "rand": _rand(groups, np.argmax(np.asarray(clustering.tau), axis=1)),
        "kmeans": _rand(groups, np.argmax(start, axis=1)),
        "errors": np.array(errors),
        "levels": np.concatenate(levels),
    }


def _rand(a: np.ndarray, b: np.ndarray) -> float:
    """Adjusted Rand index of two groupings."""
    table = np.array([[np.sum((a == i) & (b == j)) for j in np.unique(b)] for i in np.unique(a)])
    pairs = lambda n: np.sum(n * (n - 1) / 2)  # noqa: E731
    rows, columns = pairs(table.sum(1)), pairs(table.sum(0))
    chance = rows * columns / pairs(np.array([len(a)]))
    return float((pairs(table) - chance) / (0.5 * (rows + columns) - chance))


@eqx.filter_jit
def _half_steps(model: CurveClusters, curves: Curves, tau: jax.Array) -> jax.Array:
    """The bound after each of q(mu), pi and tau, ten times over."""

    def step(carry: tuple[jax.Array, jax.Array], _: None) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        tau, weights = carry
        q = mean_processes(model, curves, tau)
        first, second = (bound_of(model, curves, tau, w, q) for w in (weights, jnp.mean(tau, axis=0)))
        weights = jnp.mean(tau, axis=0)
        tau = assignments(model, curves, weights, q)
        return (tau, weights), jnp.stack([first, second, bound_of(model, curves, tau, weights, q)])

    return jnp.ravel(jax.lax.scan(step, (tau, jnp.mean(tau, axis=0)), None, length=10)[1])


def _monotone(sets: list[tuple[Curves, np.ndarray, list[np.ndarray]]]) -> Claim:
    rng, falls, truth = np.random.default_rng(0), [], _truth()
    for curves, groups, _ in sets:
        tau = jnp.asarray(rng.dirichlet(np.ones(CLUSTERS), size=len(groups)))
        falls.append(float(np.min(np.diff(np.asarray(_half_steps(truth, curves, tau))))))
    worst = min(falls)
    return Claim(
        f"Smallest change of the bound in a half-step (nats), ten rounds from random assignments, {len(sets)} sets",
        f"{PAPER}, variational EM",
        worst,
        ">= -1e-6",
        None,
        worst >= -1e-6,
    )


def _exact(curves: Curves) -> Claim:
    """One cluster against conditioning on all values at once."""
    values, observed = np.asarray(curves.values), np.asarray(curves.observed) > 0
    of, at = np.nonzero(observed)
    truth, t = _truth(), jnp.asarray(GRID)
    common, own = (np.asarray(k(t, t)) for k in (truth.mean_kernel, truth.task_kernel))
    common = common + 1e-10 * np.mean(np.diag(common)) * np.eye(40)  # the jitter of a noise-free covariance
    cov = common[np.ix_(at, at)] + own[np.ix_(at, at)] * (of[:, None] == of) + 0.04 * np.eye(len(at))
    weights = np.linalg.solve(cov, common[at])
    q = eqx.filter_jit(mean_processes)(truth, curves, jnp.ones((len(values), 1)))
    off = max(
        float(np.max(np.abs(np.asarray(q.mean[0]) - weights.T @ values[observed]))),
        float(np.max(np.abs(np.asarray(q.cov[0]) - (common - weights.T @ common[at])))),
    )
    return Claim(
        "Largest |error| of mean and covariance of the mean process, one cluster, to exact conditioning",
        "Derived",
        off,
        "< 1e-8",
        None,
        off < 1e-8,
    )


def _groups(found: list[dict[str, Any]]) -> list[Claim]:
    ours, baseline = (float(np.mean([f[name] for f in found])) for name in ("rand", "kmeans"))
    return [
        Claim(
            f"Adjusted Rand index of the clusters, mean of {len(found)} sets; baseline: k-means",
            f"{PAPER}, simulations",
            ours,
            "> 0.9, and >= baseline",
            baseline,
            ours > 0.9 and ours >= baseline,
        )
    ]


def _predictions(found: list[dict[str, Any]]) -> list[Claim]:
    errors, levels = (np.concatenate([f[name] for f in found]) for name in ("errors", "levels"))
    ours, pooled, alone = (float(e) for e in errors.mean(0))
    covered = float(np.mean((levels > 0.025) & (levels < 0.975)))
    words = f"of the second half of {len(errors)} new curves of which the first is seen"
    return [
        Claim(
            f"Mean squared error {words}; baseline: one cluster",
            f"{PAPER}, simulations",
            ours,
            "< baseline",
            pooled,
            ours < pooled,
        ),
        Claim(
            "The same; baseline: a process a curve", f"{PAPER}, simulations", ours, "< baseline", alone, ours < alone
        ),
        Claim(
            f"Coverage of 95 % intervals {words}",
            f"{PAPER}: uncertainty on both aspects",
            covered,
            "in [0.90, 0.99]",
            None,
            0.9 <= covered <= 0.99,
        ),
    ]


def _draw(data: tuple[Curves, np.ndarray, list[np.ndarray]], path: Path) -> None:
    """Mean processes, and a new curve."""
    from matplotlib.figure import Figure

    curves, groups, new = data
    truth = _truth()
    found = cluster_curves(truth, curves, jnp.asarray(np.eye(CLUSTERS)[groups]), 15)
    seen = jnp.asarray(GRID < 5, float)
    prediction = predict_curve(truth, curves.grid, found, jnp.asarray(new[0]) * seen, seen)
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for i, (value, observed) in enumerate(zip(np.asarray(curves.values), np.asarray(curves.observed), strict=True)):
        left.plot(GRID[observed > 0], value[observed > 0], ".", color=f"C{groups[i]}", markersize=3)
    for k, mean in enumerate(np.asarray(found.processes.mean)):
        left.plot(GRID, mean, color=f"C{k}")
    mean, spread = np.asarray(prediction.mean), 2 * np.sqrt(np.asarray(prediction.variance))
    right.fill_between(GRID, mean - spread, mean + spread, alpha=0.3)
    right.plot(GRID, mean)
    right.plot(GRID, new[0], "k.")
    right.axvline(5, color="black", linewidth=0.8)
    left.set(xlabel="t", ylabel="y", title="clusters")
    right.set(xlabel="t", title="a new curve, seen up to 5")
    figure.savefig(path)
