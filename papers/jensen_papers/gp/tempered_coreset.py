"""P054: a coreset-based, tempered variational posterior for Gaussian processes (Ketenci et al. 2023).

What is claimed: the posterior of a few weighted pseudo-rows, whose parameters are linear in their number M, gives
bounds and predictions as good as those of a free q(u), which has M^2 / 2. Truth: with all rows as the coreset it is the
exact process; at the same inducing inputs its bound is at most the collapsed one. The baseline is that bound and its
predictions. `--full` takes larger sets.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import jensen as jn
from jensen.core import PointPosterior
from jensen.gp import Collapsed, EvidenceTarget, Exact, TemperedCoreset, coreset_of
from jensen.gp.kernels import RBF
from jensen.gp.likelihoods import Gaussian
from jensen.gp.priors import Points
from jensen_papers.result import Claim, Result

PAPER = "Ketenci et al. (2023), abstract"


def reproduce(full: bool = False, figure: Path | None = None) -> Result:
    """Measure the claims in double precision, and write a figure to `figure` if given; `full` takes larger sets."""
    began = time.perf_counter()
    with jax.enable_x64(True):
        shown: dict[str, np.ndarray] = {}
        sets = [("friedman", 500, 30)] + ([("airfoil", 700, 50), ("bike", 5000, 100)] if full else [])
        claims = [_whole(), *_line(shown), *(_table(*arguments) for arguments in sets)]
    if figure is not None:
        _draw(shown, figure)
    return Result("P054", "tempered-coreset", time.perf_counter() - began, tuple(claims))


def _sine(n: int = 60, noise: float = 0.04) -> tuple[jax.Array, jax.Array, RBF, float]:
    rng = np.random.default_rng(0)
    x = np.sort(rng.uniform(-3, 3, n))
    y = np.sin(3 * x) + np.sqrt(noise) * rng.normal(size=n)
    return jnp.asarray(x)[:, None], jnp.asarray(y), RBF(lengthscale=jnp.asarray(0.6)), noise


def _whole() -> Claim:
    x, y, kernel, noise = _sine()
    bound = TemperedCoreset(x, y, jnp.ones(len(y))).bound(kernel, Gaussian(noise), jnp.asarray(noise), x, y)
    off = abs(float(bound - Exact(kernel, noise, x, y).log_evidence()))
    return Claim(
        "|bound - log evidence| (nats) with every row in the coreset at weight 1, N = 60",
        "Derived: the tempered posterior is then the posterior",
        off,
        "< 1e-8",
        None,
        off < 1e-8,
    )


def _climbed(log_evidence: Callable[..., Any], tree: Any, *args: Any, steps: int) -> Any:
    """The tree whose numbers maximise a bound, by L-BFGS from where they are."""
    target = EvidenceTarget(log_evidence, tree, *args, prior_scale=np.inf)
    fit = jn.run(
        jn.algorithms.Mode(num_starts=1),
        target,
        key=jax.random.key(0),
        steps=steps,
        start=PointPosterior(target.space, target.hyperparameters.theta),
        certify=False,
        progress=False,
    )
    assert isinstance(fit.posterior, PointPosterior)
    return target.hyperparameters.at(fit.posterior.z)


def _at_inputs(coreset: Any, z: Any, kernel: Any, noise: Any, x: Any, y: Any) -> Any:
    """The bound with the inputs z held."""
    return eqx.tree_at(lambda c: c.z, coreset, z).bound(kernel, Gaussian(noise), noise, x, y)


def _free(coreset: Any, kernel: Any, noise: Any, x: Any, y: Any) -> Any:
    return coreset.bound(kernel, Gaussian(noise), noise, x, y)


def _line(shown: dict[str, np.ndarray], m: int = 8) -> list[Claim]:
    x, y, kernel, noise = _sine()
    scale = jnp.asarray(noise)
    start = coreset_of(x, y, m)
    held = _climbed(_at_inputs, start, start.z, kernel, scale, x, y, steps=300)
    bound = float(_at_inputs(held, start.z, kernel, scale, x, y))
    best = float(Collapsed(kernel, noise, x, y, start.z).log_evidence())
    moved = _climbed(_free, held, kernel, scale, x, y, steps=300)
    learned = float(_free(moved, kernel, scale, x, y))
    there = float(Collapsed(kernel, noise, x, y, moved.z).log_evidence())
    mean, variance = moved.predict(kernel, scale, x)
    drawn = {"x": x[:, 0], "y": y, "mean": mean, "sd": jnp.sqrt(variance)}
    drawn |= {"z": moved.z[:, 0], "targets": moved.targets, "weights": moved.weights}
    shown |= {name: np.asarray(values) for name, values in drawn.items()}
    ours, theirs = m * (1 + 2), m + m + m * (m + 1) // 2
    where = f"{PAPER}: better bounds with O(M) parameters, of which the first cannot hold at equal inputs"
    return [
        Claim(
            f"Collapsed bound less that of the coreset (nats) at the same {m} inputs, one-dimensional sine, N = 60",
            where,
            best - bound,
            "0 to 0.5",
            0.0,
            -1e-6 <= best - bound <= 0.5,
        ),
        Claim(
            "The same at the inputs that the coreset has learned, against the gap that learning them closed",
            where,
            there - learned,
            "0 to 0.5",
            learned - bound,
            -1e-6 <= there - learned <= 0.5,
        ),
        Claim(
            f"Numbers to train for M = {m}, d = 1, against a free q(u)",
            f"{PAPER}: O(M) parameters",
            float(ours),
            "< baseline",
            float(theirs),
            ours < theirs,
        ),
    ]


def _both(tree: Any, x: Any, y: Any) -> Any:
    kernel, likelihood, coreset = tree
    return coreset.bound(kernel, likelihood, likelihood.noise, x, y)


def _collapsed(tree: Any, x: Any, y: Any) -> Any:
    kernel, likelihood, coreset = tree
    return Collapsed(kernel, likelihood.noise, x, y, Points(coreset.z)).log_evidence()


def _table(name: str, n: int, m: int, steps: int = 150) -> Claim:
    """Hyperparameters, inputs and the rest learned by as many steps of the same optimiser."""
    x, y = _friedman(2 * n) if name == "friedman" else _uci(name)
    x, y = (x - x.mean(0)) / np.maximum(x.std(0), 1e-9), (y - y.mean()) / y.std()
    rows = np.random.default_rng(0).permutation(len(x))
    train, test = rows[:n], rows[n : 2 * n]
    start = coreset_of(x[train], y[train], m)
    tree = (RBF(lengthscale=jnp.full(x.shape[1], np.sqrt(x.shape[1]))), Gaussian(0.2), start)
    args = (jnp.asarray(x[train]), jnp.asarray(y[train]))
    kernel, likelihood, coreset = _climbed(_both, tree, *args, steps=steps)
    ours = _error(coreset.predict(kernel, likelihood.noise, x[test])[0], y[test])
    kernel, likelihood, other = _climbed(_collapsed, tree, *args, steps=steps)
    theirs = _error(Collapsed(kernel, likelihood.noise, *args, Points(other.z)).predict(x[test])[0], y[test])
    return Claim(
        f"Test error (in sd of y) on {name}, {n} rows, M = {m}, {steps} steps of L-BFGS, against the collapsed bound",
        f"{PAPER}: better predictive error",
        ours,
        "<= 1.05 of the baseline",
        theirs,
        ours <= 1.05 * theirs,
    )


def _friedman(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Friedman's first function: five of ten inputs matter, noise N(0, 1)."""
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(n, 10))
    y = 10 * np.sin(np.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2 + 10 * x[:, 3] + 5 * x[:, 4]
    return x, y + rng.normal(size=n)


def _uci(name: str) -> tuple[np.ndarray, np.ndarray]:
    data = jn.datasets.load(f"uci-gp/{name}")
    return np.asarray(data["X"], float), np.asarray(data["y"], float).ravel()


def _error(mean: jax.Array, y: np.ndarray) -> float:
    return float(np.sqrt(np.mean((np.asarray(mean) - y) ** 2)))


def _draw(shown: dict[str, np.ndarray], path: Path) -> None:
    """The rows, the coreset with areas proportional to weights, the posterior."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5, 3.2), layout="constrained")
    axes = figure.subplots()
    x, mean, sd = (shown[name] for name in ("x", "mean", "sd"))
    axes.fill_between(x, mean - 2 * sd, mean + 2 * sd, alpha=0.2)
    axes.plot(x, mean)
    axes.plot(x, shown["y"], ".", color="grey", label="rows")
    axes.scatter(shown["z"], shown["targets"], 6 * shown["weights"], color="C1", label="coreset")
    axes.set(xlabel="x", ylabel="y")
    axes.legend()
    figure.savefig(path)
