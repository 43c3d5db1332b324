"""P057: memory-based dual Gaussian processes for sequential learning (Chang et al. 2023).

What is claimed: with dual (site) parameters, an inducing set that moves, and a memory of a few past rows chosen by
Bayesian leverage, a sparse Gaussian process learns from a stream almost as well as from all rows at once. Truths: for
Gaussian rows streaming and batch agree exactly, and a memory of everything converges to the batch optimum. Baselines:
no memory, and the offline posterior. `--full` adds hyperparameter learning and UCI sets in ten sorted batches.
"""

import time
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import jensen as jn
from jensen.core import DensityPosterior, PointPosterior, Sites
from jensen.families import SiteGaussian
from jensen.gp import EvidenceTarget, LatentModel, StreamingGP, streaming_gp
from jensen.gp.kernels import RBF, Matern52
from jensen.gp.likelihoods import BernoulliLogit, Gaussian
from jensen.gp.priors import Inducing
from jensen_papers.result import Claim, Result

PAPER = "Chang et al. (2023), abstract"
MEMORIES = (0, 5, 15, 50)
SEEDS = range(4)


def reproduce(full: bool = False, figure: Path | None = None) -> Result:
    """Measure the claims in double precision, and write a figure to `figure` if given; `full` adds hyperparameters."""
    began = time.perf_counter()
    with jax.enable_x64(True):
        losses: dict[str, np.ndarray] = {}
        claims = [_gaussian_rows(), *_moons(losses)]
        if full:
            claims += [_uci(name) for name in ("bike", "elevators")]
    if figure is not None:
        _draw(losses, figure)
    return Result("P057", "memory-dual", time.perf_counter() - began, tuple(claims))


def _gaussian_rows(n: int = 100, noise: float = 0.1) -> Claim:
    rng = np.random.default_rng(0)
    x = np.sort(rng.uniform(-3, 3, n))[:, None]
    y, z, new = np.sin(2 * x[:, 0]) + 0.3 * rng.normal(size=n), x[::7], np.linspace(-4, 4, 50)[:, None]
    kernel = Matern52()
    gp = streaming_gp(kernel, Gaussian(noise), z, rate=1.0, capacity=50)
    gp = _streamed(gp, x, y, 10, seed=0, remember=5, steps=1)
    sites = Sites(jnp.asarray(y)[:, None] / noise, jnp.full((n, 1, 1), 1 / noise))
    mean, cov = eqx.filter_jit(Inducing(kernel, x, z).predict)(sites, new)
    found = gp.predict(new)
    off = max(float(jnp.max(jnp.abs(a - b))) for a, b in zip(found, (mean[:, 0], cov[:, 0, 0]), strict=True))
    return Claim(
        "Largest difference of means and variances of 10 sorted batches of Gaussian rows, with a memory, from all rows "
        "at once",
        "Derived: dual parameters add over rows",
        off,
        "< 1e-8",
        None,
        off < 1e-8,
    )


def _streamed(gp: StreamingGP, x: Any, y: Any, batches: int, seed: int, **settings: Any) -> StreamingGP:
    keys = jax.random.split(jax.random.key(seed), batches)
    for key, own_x, own_y in zip(keys, np.array_split(x, batches), np.array_split(y, batches), strict=True):
        gp = gp.update(key, own_x, own_y, **settings)
    return gp


def two_moons(n: int, seed: int, noise: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    """Two interleaved half circles with noise: points sorted by the first coordinate, and labels."""
    rng = np.random.default_rng(seed)
    label = rng.integers(2, size=n)
    angle = np.pi * rng.uniform(size=n)
    x = np.stack([np.cos(angle), np.sin(angle)], 1)
    x = np.where(label[:, None] == 1, np.array([1.0, 0.5]) - x, x) + noise * rng.normal(size=(n, 2))
    order = np.argsort(x[:, 0])
    return x[order], label[order].astype(float)


@eqx.filter_jit
def _loss(likelihood: Any, mean: jax.Array, variance: jax.Array, y: jax.Array) -> jax.Array:
    """Mean of -log p(y | data) over test rows, in nats."""
    terms = jax.vmap(lambda y, m, v: likelihood.log_tilted(y, m[None], v[None, None], jnp.asarray(1.0)))(
        y, mean, variance
    )
    return -jnp.mean(terms)


def _moons(losses: dict[str, np.ndarray]) -> list[Claim]:
    table, gaps, refreshed = np.zeros((len(SEEDS), len(MEMORIES) + 1)), np.zeros((len(SEEDS), len(MEMORIES))), 0.0
    likelihood, kernel = BernoulliLogit(), RBF(lengthscale=jnp.asarray(0.5), variance=jnp.asarray(10.0))
    for seed in SEEDS:
        x, y = two_moons(300, seed)
        new, labels = (jnp.asarray(a) for a in two_moons(500, 100 + seed))
        z = x[:: len(x) // 30]
        q = _offline(LatentModel(Inducing(kernel, x, z), likelihood, y))
        mean, cov = _predicted(q, new)
        table[seed, -1] = float(_loss(likelihood, mean[:, 0], cov[:, 0, 0], labels))
        for i, remember in enumerate(MEMORIES):
            start = streaming_gp(kernel, likelihood, z, capacity=300)
            gp = _streamed(start, x, y, 6, seed, remember=remember)
            found = gp.predict(new)
            table[seed, i] = float(_loss(likelihood, found[0], found[1], labels))
            gaps[seed, i] = float(jnp.max(jnp.abs(found[0] - mean[:, 0])))
        if seed == 0:
            refreshed = float(jnp.max(jnp.abs(_refreshed(gp, 300).predict(new)[0] - mean[:, 0])))
    losses |= {f"memory {m}": table[:, i] - table[:, -1] for i, m in enumerate(MEMORIES)}
    averages, gap = table.mean(0), gaps.mean(0)
    where = f"{PAPER}: errors are kept in check by the memory"
    return [
        Claim(
            "Test loss (nats) above offline, two moons, n = 300 in 6 sorted batches, 15 rows kept of each 50, 4 seeds, "
            "against no memory",
            where,
            float(averages[2] - averages[-1]),
            "< baseline",
            float(averages[0] - averages[-1]),
            bool(averages[2] < averages[0]),
        ),
        Claim(
            "Largest difference of the posterior mean from offline with 50, that is all, rows kept; it falls over 0, "
            "5, 15, 50 rows",
            where,
            float(gap[-1]),
            "falls strictly, against no memory",
            float(gap[0]),
            bool(np.all(np.diff(gap) < 0)),
        ),
        Claim(
            "The same after 300 more steps on a memory of everything",
            "Derived: then the fixed point is the offline one",
            refreshed,
            "< 1e-6",
            float(gaps[0, -1]),
            refreshed < 1e-6,
        ),
    ]


def _offline(target: LatentModel) -> SiteGaussian:
    algorithm = jn.algorithms.CVI(tolerance=1e-10)
    fit = jn.run(algorithm, target, key=jax.random.key(0), steps=200, certify=False, progress=False)
    assert isinstance(fit.posterior, DensityPosterior)
    assert isinstance(fit.posterior.q, SiteGaussian)
    return fit.posterior.q


@eqx.filter_jit
def _predicted(q: SiteGaussian, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    return q.predict(x)


@eqx.filter_jit
def _refreshed(gp: StreamingGP, steps: int) -> StreamingGP:
    return gp.refreshed(steps)


def _uci(name: str, batches: int = 10, num_inducing: int = 100) -> Claim:
    """Ten sorted batches with hyperparameter learning: test error with a memory of 10 rows a batch, and without."""
    data = jn.datasets.load(f"uci-gp/{name}")
    mask = np.asarray(data["test_mask"])[:, 0].astype(bool)
    x, y = np.asarray(data["X"], float), np.asarray(data["y"], float).ravel()
    x = (x - x[~mask].mean(0)) / np.maximum(x[~mask].std(0), 1e-9)
    y = (y - y[~mask].mean()) / y[~mask].std()
    order = np.argsort(x[~mask][:, 0], kind="stable")
    train_x, train_y = x[~mask][order], y[~mask][order]
    errors = {}
    for remember in (10, 0):
        kernel = Matern52(lengthscale=jnp.full(x.shape[1], np.sqrt(x.shape[1])))
        gp = streaming_gp(kernel, Gaussian(0.1), train_x[:num_inducing], capacity=128)
        keys = jax.random.split(jax.random.key(0), batches)
        for key, own_x, own_y in zip(
            keys, np.array_split(train_x, batches), np.array_split(train_y, batches), strict=True
        ):
            gp = gp.update(key, own_x, own_y, num_inducing=num_inducing, remember=remember)
            gp = _learned(gp, own_x, own_y)
        mean, _ = gp.predict(x[mask])
        errors[remember] = float(np.sqrt(np.mean((np.asarray(mean) - y[mask]) ** 2)))
    return Claim(
        f"Test error (in sd of y) on {name}, 10 sorted batches, learned hyperparameters, memory against none",
        "Authors' configuration: 10 rows of memory a batch, 100 inducing inputs",
        errors[10],
        "< baseline",
        errors[0],
        errors[10] < errors[0],
    )


def _learned(gp: StreamingGP, x: np.ndarray, y: np.ndarray) -> StreamingGP:
    target = EvidenceTarget(_objective, (gp.kernel, gp.likelihood), gp, x, y, prior_scale=np.inf)
    fit = jn.run(
        jn.algorithms.Mode(num_starts=1),
        target,
        key=jax.random.key(0),
        steps=20,
        start=PointPosterior(target.space, target.hyperparameters.theta),
        certify=False,
        progress=False,
    )
    assert isinstance(fit.posterior, PointPosterior)
    return eqx.tree_at(lambda s: (s.kernel, s.likelihood), gp, target.hyperparameters.at(fit.posterior.z))


def _objective(tree: Any, gp: Any, x: Any, y: Any) -> Any:
    return gp.learning_objective(*tree, x, y)


def _draw(losses: dict[str, np.ndarray], path: Path) -> None:
    """Test loss above the offline one against the memory, a line a seed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.2), layout="constrained")
    axes = figure.subplots()
    table = np.array(list(losses.values()))
    axes.plot(MEMORIES, table, "o-")
    axes.axhline(0.0, color="black", linewidth=0.8)
    axes.set(xlabel="rows kept of each batch of 50", ylabel="test loss above offline (nats)")
    figure.savefig(path)
