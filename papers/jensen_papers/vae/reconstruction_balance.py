"""P230: balancing reconstruction error and Kullback-Leibler divergence (Asperti and Trentin, 2020).

What is claimed: the noise scale of a Gaussian decoder need not be learned; a running average of the squared error
balances the two terms of the bound, faster and better. Where the truth is known, the linear autoencoder, the balance is
that of probabilistic PCA. Baselines: a fixed scale at its exact optimum, and a scale learned by gradients. The code of
the authors never lets the average rise and weighs the divergence anew; both are measured. Their tables (Frechet
distances on CIFAR-10 and CelebA) are not repeated: those images are not at hand. `--full` takes more rows and steps.
"""

import math
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jensen.algorithms import AmortisedVI, Refreshed
from jensen.targets import Shuffled
from jensen.vae import (
    BetaElbo,
    FallingScale,
    RunningScale,
    closed_bound,
    latent_rows,
    linear_vae,
    posterior_collapse,
    probabilistic_pca,
)
from jensen_papers.result import Claim, Result
from jensen_papers.vae._linear import linear_data
from jensen_papers.vae._training import train_each

PAPER = "Asperti and Trentin (2020)"
COLUMNS, K, EVERY, SEEDS = 10, 3, 25, 5


def reproduce(full: bool = False, figure: Path | None = None) -> Result:
    """Measure the claims, and draw the scales over steps to `figure` if given."""
    began = time.perf_counter()
    rows, steps = (2000, 10_000) if full else (500, 3000)
    with jax.enable_x64(True):
        X = linear_data(np.random.default_rng(0), rows, COLUMNS, K)
        truth = probabilistic_pca(X, K)
        curves = {name: _curve(X, closed, steps) for name, closed in POLICIES.items()}
        heavy = float(np.min(_curve(X, RunningScale(), steps, weight=4.0)[0][:, -1])) / float(truth.noise)
        fixed = _bound_at(truth, 1.0)
    claims = _claims(curves, heavy, fixed, truth, f"{rows} rows, {steps} steps, the worst of {SEEDS} seeds")
    if figure is not None:
        _draw(curves, float(truth.noise), figure)
    return Result("P230", "reconstruction-balance", time.perf_counter() - began, tuple(claims))


POLICIES: dict[str, Any] = {"learned": None, "average": RunningScale(), "falling average": FallingScale()}


def _curve(X: np.ndarray, closed: Any, steps: int, weight: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Noise variance and exact bound a row, shape (seeds, looks)."""
    model, conditional = linear_vae(jax.random.key(0), COLUMNS, K, full_rank=True, scale=math.sqrt(2 * np.var(X)))
    algorithm: Any = AmortisedVI(conditional, BetaElbo(weight), learning_rate=1e-2)
    if closed is not None:
        refreshed: Any = Refreshed
        algorithm = refreshed(algorithm, closed)
    rows = Shuffled(latent_rows(model, jnp.asarray(X)), len(X) // 10)
    _, seen = train_each(jax.random.split(jax.random.key(1), SEEDS), algorithm, rows, steps, _watch, EVERY)
    noise, bound = map(np.asarray, seen)
    return noise, bound


def _watch(state: Any, target: Any) -> Any:
    model = target.at(state.z)
    return jnp.exp(2 * model.likelihood.log_scale), closed_bound(model, state.conditional, target.data)


def _bound_at(truth: Any, noise: float) -> float:
    """The highest bound a row of a linear autoencoder whose noise variance is kept: its evidence, in closed form."""
    eigenvalues = np.asarray(truth.eigenvalues)
    spectrum = noise + np.pad(posterior_collapse(eigenvalues[:K], noise), (0, COLUMNS - K))
    return float(-0.5 * np.sum(np.log(2 * np.pi * spectrum) + eigenvalues / spectrum))


def _claims(curves: Any, heavy: float, fixed: float, truth: Any, words: str) -> list[Claim]:
    noise, evidence = float(truth.noise), float(truth.log_evidence)
    off = {name: float(np.max(np.abs(curve[0][:, -1] / noise - 1))) for name, curve in curves.items()}
    gap = {name: evidence - float(np.min(curve[1][:, -1])) for name, curve in curves.items()}
    first = {name: [_first(one, noise) for one in curve[0]] for name, curve in curves.items()}
    slower = int(np.argmax(np.divide(first["average"], first["learned"])))
    falling = curves["falling average"][0][:, -1] / curves["average"][0][:, -1]
    lowest = int(np.argmax(falling))
    truly = "Derived: the fixed point is the noise of probabilistic PCA"
    return [
        Claim(
            f"Relative error of the noise variance by the running average, linear autoencoder, {words}",
            truly,
            off["average"],
            "< 0.02 (baseline: learned by gradients)",
            off["learned"],
            off["average"] < 0.02,
        ),
        Claim(
            f"Exact evidence less bound (nats a row) by the running average, {words}",
            f"{truly}; baseline: the noise variance fixed at 1, at its own exact optimum",
            gap["average"],
            "< 0.06, and baseline > 0.5",
            evidence - fixed,
            gap["average"] < 0.06 and evidence - fixed > 0.5,
        ),
        Claim(
            "Steps until the noise variance first comes within 5% of the truth, running average against learned. The "
            "abstract's 'faster' does not hold here: the average forgets its start at one hundredth a step, and Adam "
            "moves at its own rate",
            f"{PAPER}, abstract: a faster and more accurate behaviour",
            first["average"][slower],
            "within four times the baseline (reported)",
            first["learned"][slower],
            first["average"][slower] <= 4 * first["learned"][slower],
        ),
        Claim(
            "Noise variance over truth by the average that never rises, as in their code: too low; baseline the plain "
            "average",
            f"{PAPER}, computed_gamma.py: min(m, 0.99 m + 0.01 mse)",
            curves["falling average"][0][lowest, -1] / noise,
            "< 0.98 of the baseline",
            curves["average"][0][lowest, -1] / noise,
            falling[lowest] < 0.98,
        ),
        Claim(
            "Noise variance over truth when the divergence is weighted by 4, as in their code for images of 64 x 64 "
            "and 64 latents: a weight moves the balance",
            f"{PAPER}, code: (2 side / latents)^2; the fixed point is the truth at weight 1 alone",
            heavy,
            "> 1.5",
            float(np.max(curves["average"][0][:, -1])) / noise,
            heavy > 1.5,
        ),
    ]


def _first(noise: np.ndarray, truth: float) -> float:
    near = np.flatnonzero(np.abs(noise / truth - 1) < 0.05)
    return float(EVERY * (near[0] + 1)) if len(near) else math.inf


def _draw(curves: Any, truth: float, path: Path) -> None:
    """Noise variances over steps, beside that of probabilistic PCA."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5, 3), layout="constrained")
    axes = figure.subplots()
    for name, (noise, _) in curves.items():
        axes.plot(EVERY * np.arange(1, noise.shape[1] + 1), noise[0] / truth, label=name)
    axes.axhline(1.0, color="grey", linestyle="--", label="probabilistic PCA")
    axes.set(xlabel="step", ylabel="noise variance over truth", ylim=(0.8, 2.5))
    axes.legend()
    figure.savefig(path)
