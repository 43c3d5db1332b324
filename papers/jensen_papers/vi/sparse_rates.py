"""P037: convergence rates of variational inference in sparse deep learning (Cherief-Abdellatif 2020).

What is claimed: with a spike-and-slab prior, a mean-field approximation of the tempered posterior reaches near-minimax
rates, n^(-2 beta / (2 beta + d)) up to logarithms for beta-smooth functions, and choosing the architecture by the ELBO
does not overfit. The theory is checked where the variational optimum can be computed: a spike-and-slab linear model
in cosine features of f0(x) = |x|, with the tempered power alpha = 1/2 that the proof needs. The baseline for the choice
of size is the training likelihood. Networks themselves are not fitted here.
"""

import math
import time
from pathlib import Path

import numpy as np

from jensen_papers.result import Claim, Result

PAPER = "P037, abstract and theorem form"
NOISE, SLAB, POWER, INCLUSION = 0.3, 1.0, 0.5, 0.5
SIZES = (2, 4, 8, 16, 32, 64)
GRID = np.linspace(-1.0, 1.0, 801)
TRUTH = np.abs(GRID)


def reproduce(full: bool = False, figure: Path | None = None) -> Result:
    """Measure the claims, and write a figure to `figure` if given; `full` takes more seeds and rows."""
    began = time.perf_counter()
    rows = tuple(50 * 2**i for i in range(10 if full else 7))
    risks, choices = _table(rows, 40 if full else 10)
    claims = _claims(np.array(rows), risks, choices)
    if figure is not None:
        _draw(rows, risks, choices, figure)
    return Result("P037", "sparse-rates", time.perf_counter() - began, tuple(claims))


def features(x: np.ndarray, size: int) -> np.ndarray:
    """1 and sqrt(2) cos(pi k (x + 1) / 2), k < size: orthonormal for x uniform on [-1, 1]."""
    k = np.arange(size)
    return np.where(k == 0, 1.0, math.sqrt(2) * np.cos(0.5 * np.pi * k * (x[:, None] + 1)))


class Fit:
    """The mean-field optimum: theta_j = 0 with probability 1 - a_j, else N(mu_j, s_j^2); its tempered ELBO and risk.

    Coordinate ascent on -alpha / (2 sigma^2) E|y - Phi theta|^2 - KL(q || prior), theta_j ~ pi N(0, tau^2) + (1 - pi)
    delta_0, alpha = POWER. Each update is closed-form, so that the ELBO never falls.
    """

    def __init__(self, x: np.ndarray, y: np.ndarray, size: int):
        phi = features(x, size)
        gram, cross = phi.T @ phi, phi.T @ y
        weight = POWER / NOISE**2
        variance = 1 / (weight * np.diag(gram) + 1 / SLAB**2)
        mean, share = np.zeros(size), np.full(size, INCLUSION)
        prior = math.log(INCLUSION / (1 - INCLUSION))
        for _ in range(100):
            before = share * mean
            for j in range(size):
                rest = cross[j] - gram[j] @ (share * mean) + gram[j, j] * share[j] * mean[j]
                mean[j] = variance[j] * weight * rest
                odds = prior + 0.5 * math.log(variance[j] / SLAB**2) + 0.5 * mean[j] ** 2 / variance[j]
                share[j] = 1 / (1 + math.exp(-np.clip(odds, -500, 500)))
            if np.max(np.abs(share * mean - before)) < 1e-8:
                break
        spread = share * (variance + mean**2) - (share * mean) ** 2
        residual = np.sum((y - phi @ (share * mean)) ** 2)
        fit = -0.5 * weight * (residual + np.diag(gram) @ spread) - 0.5 * POWER * len(y) * math.log(
            2 * np.pi * NOISE**2
        )
        slab = 0.5 * (np.log(SLAB**2 / variance) + (variance + mean**2) / SLAB**2 - 1)
        a = np.clip(share, 1e-300, 1 - 1e-16)
        masks = a * np.log(a / INCLUSION) + (1 - a) * np.log((1 - a) / (1 - INCLUSION))
        self.elbo = float(fit - np.sum(share * slab + masks))
        self.likelihood = float(-0.5 * residual / NOISE**2)
        self.risk = float(
            np.mean((features(GRID, size) @ (share * mean) - TRUTH) ** 2) + np.mean(features(GRID, size) ** 2 @ spread)
        )


def _table(rows: tuple[int, ...], seeds: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Risks by rows, seed and size, and the places of the sizes that the ELBO and the training likelihood choose."""
    risks = np.zeros((len(rows), seeds, len(SIZES)))
    chosen = {name: np.zeros((len(rows), seeds), int) for name in ("elbo", "likelihood")}
    for i, n in enumerate(rows):
        for seed in range(seeds):
            rng = np.random.default_rng((seed, n))
            x = rng.uniform(-1, 1, n)
            y = np.abs(x) + NOISE * rng.normal(size=n)
            fits = [Fit(x, y, size) for size in SIZES]
            risks[i, seed] = [fit.risk for fit in fits]
            chosen["elbo"][i, seed] = int(np.argmax([fit.elbo for fit in fits]))
            chosen["likelihood"][i, seed] = int(np.argmax([fit.likelihood for fit in fits]))
    return risks, chosen


def _picked(risks: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    return np.take_along_axis(risks, chosen[..., None], -1)[..., 0]


def _claims(rows: np.ndarray, risks: np.ndarray, chosen: dict[str, np.ndarray]) -> list[Claim]:
    by_elbo, by_likelihood = _picked(risks, chosen["elbo"]), _picked(risks, chosen["likelihood"])
    across, up = np.log(np.repeat(rows, risks.shape[1])), np.log(by_elbo.reshape(-1))
    (slope, _), cov = np.polyfit(across, up, 1, cov="unscaled")
    residual = up - np.polyval(np.polyfit(across, up, 1), across)
    half = 1.96 * math.sqrt(cov[0, 0] * np.sum(residual**2) / (len(up) - 2))
    low, high = slope - half, slope + half
    oracle = risks.mean(1).min(1)
    ratio = by_elbo.mean(1) / oracle
    first = by_likelihood[0].mean() / by_elbo[0].mean()
    regular = "n^(-2/3) for beta = 1, d = 1, up to logarithms"
    return [
        Claim(
            f"Slope of the log of the risk of the size that the ELBO chose on log n: {low:.2f} to {high:.2f}",
            f"{PAPER}: {regular}",
            float(slope),
            "95 % interval meets [-1, -0.5] and lies below -0.4",
            None,
            low <= -0.5 and high >= -1 and high < -0.4,
        ),
        Claim(
            "Risk of the size that the ELBO chose over that of the best size, mean over n",
            f"{PAPER}: selection by the ELBO is adaptive",
            float(ratio.mean()),
            "< 1.25",
            float((by_likelihood.mean(1) / oracle).mean()),
            float(ratio.mean()) < 1.25,
        ),
        Claim(
            "Risk of the size that the training likelihood chose over that of the ELBO's, n = 50",
            f"{PAPER}: the ELBO does not overfit",
            float(first),
            "> 1",
            None,
            first > 1,
        ),
    ]


def _draw(rows: tuple[int, ...], risks: np.ndarray, chosen: dict[str, np.ndarray], path: Path) -> None:
    """Risk against rows."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.5), layout="constrained")
    axes = figure.subplots()
    axes.loglog(rows, risks.mean(1).min(1), "k--", label="best size")
    for name, places in chosen.items():
        axes.loglog(rows, _picked(risks, places).mean(1), "o-", label=f"size by {name}")
    axes.loglog(rows, risks.mean(1).min(1)[0] * (np.array(rows) / rows[0]) ** (-2 / 3), ":", label="n^(-2/3)")
    axes.set(xlabel="rows n", ylabel="posterior risk")
    axes.legend()
    figure.savefig(path)
