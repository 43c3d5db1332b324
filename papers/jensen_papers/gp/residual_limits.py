"""P142: width and depth limits commute in residual networks (Hayou and Yang 2023).

What is claimed: with branches scaled by the root of the depth, the covariance of a residual network has one limit in
whatever way width and depth grow, given by a differential equation; pre-activations are Gaussian even where depth is of
the order of the width, and other scalings of the branches are trivial or explode. The baseline is a plain network of
the same sizes. `--full` goes on to widths and depths of 1000.
"""

import math
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

from jensen.gp.infinite_width import (
    RandomNetwork,
    ResidualDepthLimit,
    ResidualNetwork,
    ResidualNNGP,
    draw_networks,
)
from jensen_papers.result import Claim, Result

PAPER = "Hayou and Yang (2023)"
QUICK = ((100, 25), (100, 100), (100, 400), (200, 200))
FULL = (*QUICK, (1000, 100), (100, 1000), (1000, 1000))
NETS = 200
X = np.eye(2) * math.sqrt(2)  # two orthogonal inputs of mean square 1


def reproduce(full: bool = False, figure: Path | None = None) -> Result:
    """Measure the claims in double precision, and write a figure to `figure` if given; `full` adds larger networks."""
    began = time.perf_counter()
    curves: dict[tuple[int, int], np.ndarray] = {}
    with jax.enable_x64(True):
        claims = [*_covariances(FULL if full else QUICK, curves), *_gaussian(), *_scalings(), *_limit()]
    if figure is not None:
        _draw(curves, figure)
    return Result("P142", "residual-limits", time.perf_counter() - began, tuple(claims))


def _moments(width: int, depth: int, nets: int = NETS) -> np.ndarray:
    """(q, r) of each network: the mean square of the pre-activations at an input, the correlation of two inputs."""
    y = np.asarray(_draws(ResidualNetwork(width=width, depth=depth), 0, nets))
    squares = np.mean(y**2, axis=2)
    return np.stack([squares.mean(1), np.mean(y[:, 0] * y[:, 1], axis=1)], axis=1)


def _draws(network: ResidualNetwork | RandomNetwork, seed: int, nets: int) -> jax.Array:
    return jax.jit(lambda key: draw_networks(key, network, jnp.asarray(X), nets, batch=nets))(jax.random.key(seed))


def _recursion(depth: int) -> np.ndarray:
    """(q, c) of infinite width, c the covariance of the two inputs."""
    gram = jax.jit(lambda x: ResidualNNGP(depth=depth)(x, x))(jnp.asarray(X))
    return np.array([gram[0, 0], gram[0, 1]])


def _ode() -> np.ndarray:
    gram = jax.jit(lambda x: ResidualDepthLimit()(x, x))(jnp.asarray(X))
    return np.array([gram[0, 0], gram[0, 1]])


def _covariances(sizes: tuple[tuple[int, int], ...], curves: dict[tuple[int, int], np.ndarray]) -> list[Claim]:
    limit, worst, gap = _ode(), 0.0, 0.0
    for width, depth in sizes:
        found, truth = _moments(width, depth), _recursion(depth)
        curves[width, depth] = found
        error = found.std(0, ddof=1) / math.sqrt(len(found))
        worst = max(worst, float(np.max(np.abs(found.mean(0) - truth) / error)))
        gap = max(gap, float(np.max(np.abs(truth - limit))) * depth)
    growth = abs(limit[0] - math.exp(0.5))
    where = f"{PAPER}: the same covariance in whatever way the limits are taken"
    names = ", ".join(f"({n}, {depth})" for n, depth in sizes)
    return [
        Claim(
            f"Largest |z| of the variance and covariance of {NETS} networks to the recursion of infinite width, "
            f"(width, depth) = {names}",
            where,
            worst,
            "< 4",
            None,
            worst < 4,
        ),
        Claim("Depth times the largest |recursion - differential equation|", where, gap, "<= 1", None, gap <= 1),
        Claim("|q(1) - sqrt(e)| of the differential equation", "Derived", growth, "< 1e-8", None, growth < 1e-8),
    ]


def _kurtosis(f: np.ndarray) -> float:
    """E z^4 / (3 E[z^2]^2) of z given the layer below, through E[S^2] / E[S]^2, S = sum phi^2."""
    s = np.sum(np.maximum(f, 0) ** 2, axis=-1)
    return float(np.mean(s**2) / np.mean(s) ** 2)


def _gaussian(size: int = 200, nets: int = 400) -> list[Claim]:
    """Pre-activations of a residual and of a plain network, both as deep as wide."""
    residual = np.asarray(_draws(ResidualNetwork(width=size, depth=size), 1, nets))[:, 0]
    plain = RandomNetwork(width=size, depth=size - 1, outputs=size, bias_variance=0.0)
    feed = np.asarray(_draws(plain, 1, nets))[:, 0]
    q = _recursion(size)[0]
    ours = float(scipy.stats.kstest(residual[:, 0] / math.sqrt(q), "norm").pvalue)
    theirs = float(scipy.stats.kstest(feed[:, 0] / math.sqrt(2.0), "norm").pvalue)
    tails, heavy = _kurtosis(residual), _kurtosis(feed)
    where = f"{PAPER}: Gaussian even for depth of the order of the width"
    return [
        Claim(
            f"P-value of a normal distribution for a pre-activation, width = depth = {size}, {nets} networks; "
            "baseline: a plain network",
            where,
            ours,
            "> 0.01, and baseline < 1e-6",
            theirs,
            ours > 0.01 and theirs < 1e-6,
        ),
        Claim(
            f"Kurtosis over 3 of a pre-activation at width = depth = {size}; baseline: a plain network, of expectation "
            f"(1 + 5 / n)^(n - 1) = {(1 + 5 / size) ** (size - 1):.0f}, heavy-tailed and so underestimated",
            f"{where}; derived",
            tails,
            "< 1 + 20 / n, and baseline > 5",
            heavy,
            tails < 1 + 20 / size and heavy > 5,
        ),
    ]


def _scalings(depth: int = 30) -> list[Claim]:
    """The same network with branches that are not scaled, and with branches scaled by 1 / L."""
    x = jnp.asarray(X)
    grow = jax.jit(lambda w: ResidualNNGP(depth=depth, weight_variance=w)(x)[0])
    wild, tame = float(grow(float(depth))) / 1.5**depth, float(grow(1 / depth))
    return [
        Claim(
            f"Variance at depth {depth} without scaling, over (3/2)^L",
            f"{PAPER}: the only nontrivial scaling",
            wild,
            "= 1 within 1e-9",
            None,
            abs(wild - 1) < 1e-9,
        ),
        Claim(
            f"Variance at depth {depth} with branches scaled by 1 / L, over that of the input",
            f"{PAPER}: the only nontrivial scaling",
            tame,
            "< 1 + 1 / L: nothing is computed",
            math.exp(0.5),
            tame < 1 + 1 / depth,
        ),
    ]


def _limit(rows: int = 40) -> list[Claim]:
    """Regression with the kernel of infinite depth and with that of depth 1000."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 3))
    y = np.sin(2 * x[:, 0]) + x[:, 1] * x[:, 2]
    means = []
    for kernel in (ResidualNNGP(depth=1000), ResidualDepthLimit()):
        gram = np.asarray(jax.jit(lambda x, kernel=kernel: kernel(x, x))(jnp.asarray(x)))
        n = rows // 2
        means.append(gram[n:, :n] @ np.linalg.solve(gram[:n, :n] + 0.1 * np.eye(n), y[:n]))
    apart = float(np.max(np.abs(means[0] - means[1])))
    return [
        Claim(
            "Largest |difference| of predictions by the kernels of depth 1000 and of infinite depth",
            f"{PAPER}: the limit explains networks of finite depth",
            apart,
            "< 1e-3",
            None,
            apart < 1e-3,
        )
    ]


def _draw(curves: dict[tuple[int, int], np.ndarray], path: Path) -> None:
    """Variance and covariance of each network, against the limit."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.2), layout="constrained")
    with jax.enable_x64(True):
        limit = _ode()
    for axes, i, name in zip(figure.subplots(1, 2), (0, 1), ("variance", "covariance of two inputs"), strict=True):
        axes.boxplot([found[:, i] for found in curves.values()], tick_labels=[f"{n}, {depth}" for n, depth in curves])
        axes.axhline(limit[i], color="black", linewidth=0.8)
        axes.set(xlabel="width, depth", ylabel=name)
        axes.tick_params(axis="x", rotation=30)
    figure.savefig(path)
