"""P066: controlling posterior collapse by an inverse Lipschitz constraint (Kinoshita, Oono, Fukumizu et al., 2023).

What is claimed: a decoder with |f(z) - f(z')| >= L |z - z'| cannot collapse, and L controls how far the posterior stays
from the prior. Truths: the linear autoencoder under the constraint, in closed form; the eigenvalues of the network's
Jacobians. Baseline: a perceptron of the same size at the same weight of the divergence. More divergence is not a better
model: the reconstruction is reported beside it. `--full` trains longer.
"""

import time
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import minimize

from jensen.algorithms import AmortisedVI
from jensen.amortised import Encoded
from jensen.vae import (
    BetaElbo,
    LatentModel,
    MeanField,
    StandardNormal,
    brenier_map,
    constrained_collapse,
    inverse_lipschitz_decoder,
    latent_rows,
    perceptron_decoder,
    perceptron_encoder,
)
from jensen_papers.result import Claim, Result
from jensen_papers.vae._linear import fixed
from jensen_papers.vae._training import train_each

PAPER = "Kinoshita et al. (2023)"
CONSTANTS = (0.0, 0.25, 0.5, 1.0)
COLUMNS, K, HIDDEN = 10, 2, (24, 24)
NOISE, BETA = 0.5, 4.0
USED = 0.01  # nats of a unit's divergence above which it is in use


def reproduce(full: bool = False, figure: Path | None = None) -> Result:
    """Measure the claims, and draw divergence and error over L to `figure` if given."""
    began = time.perf_counter()
    with jax.enable_x64(True):
        runs, trained = _trained(4000 if full else 400)
        claims = [_distances(trained), _jacobians(), *_linear(), *_toy(runs)]
    if figure is not None:
        _draw(runs, figure)
    return Result("P066", "inverse-lipschitz", time.perf_counter() - began, tuple(claims))


@eqx.filter_jit
def _least(key: Any, decoder: Any, pairs: int = 4_000) -> Any:
    """The least |f(z) - f(z')| / |z - z'| of random pairs, near and far."""
    key_z, key_step, key_size = jax.random.split(key, 3)
    z = 2 * jax.random.normal(key_z, (pairs, K))
    step = jax.random.normal(key_step, (pairs, K)) * 10 ** jax.random.uniform(
        key_size, (pairs, 1), minval=-2, maxval=0.5
    )
    apart = jax.vmap(decoder)(z + step) - jax.vmap(decoder)(z)
    return jnp.min(jnp.linalg.norm(apart[..., 0], axis=1) / jnp.linalg.norm(step, axis=1))


def _distances(trained: list[Any]) -> Claim:
    margins = []
    for constant in (0.0, 0.1, 0.5, 1.0, 2.0):
        decoder = inverse_lipschitz_decoder(jax.random.key(1), K, HIDDEN, jnp.zeros((COLUMNS, 1)), constant)
        margins.append(float(_least(jax.random.key(2), decoder)) - constant)
    margins += [float(_least(jax.random.key(2), d)) - c for d, c in zip(trained, CONSTANTS, strict=True)]
    return Claim(
        "Least |f(z) - f(z')| / |z - z'| less L over 4,000 pairs, L in {0, 0.1, 0.5, 1, 2} before and {0, 0.25, 0.5, "
        "1} after training",
        f"{PAPER}: the decoder is L-inverse Lipschitz by construction",
        min(margins),
        "> -1e-5",
        None,
        min(margins) > -1e-5,
    )


@eqx.filter_jit
def _lowest(key: Any, mapping: Any) -> Any:
    z = 3 * jax.random.normal(key, (500, 4))
    slopes = jax.vmap(jax.jacfwd(mapping))(z)
    return jnp.max(jnp.abs(slopes - jnp.swapaxes(slopes, 1, 2))), jnp.min(jnp.linalg.eigvalsh(slopes))


def _jacobians() -> Claim:
    worst = np.inf
    for c in (0.0, 0.7):
        skew, lowest = _lowest(jax.random.key(3), brenier_map(jax.random.key(4), 4, (16, 16), c))
        worst = min(worst, float(lowest) - c - float(skew))
    return Claim(
        "Least eigenvalue of the Jacobian of the gradient map less its strength (0 and 0.7), 500 points",
        "Wang, Blei and Cunningham (2021): the gradient of a strongly convex function",
        worst,
        "> -1e-9",
        None,
        worst > -1e-9,
    )


def _linear(noise: float = 0.5, weight: float = 2.0) -> list[Claim]:
    """A unit of the linear autoencoder with w >= L, by a bounded minimisation of its exact loss."""
    eigenvalues, worst = np.array([3.0, 1.2, 0.5]), 0.0

    def loss(v: np.ndarray, value: float) -> float:
        a, log_t, w = v
        t = np.exp(log_t)
        misfit = (value * (1 - a * w) ** 2 + w**2 * t) / (2 * noise)
        return misfit + 0.5 * weight * (a**2 * value + t - 1 - log_t)

    for constant in (0.0, 0.5, 1.0):
        w2, divergence = constrained_collapse(eigenvalues, noise, constant, weight)
        for i, value in enumerate(eigenvalues):
            bounds = ((None, None), (None, None), (constant, None))
            found = minimize(loss, (0.5, -0.5, 1.1), (value,), bounds=bounds, options={"ftol": 1e-15, "gtol": 1e-10}).x
            kl = 0.5 * (found[0] ** 2 * value + np.exp(found[1]) - 1 - found[1])
            worst = max(worst, abs(found[2] ** 2 - w2[i]), abs(kl - divergence[i]))
    rng = np.random.default_rng(0)
    fisher = [_fisher(rng, 0.5, 1.0, constant) for constant in (0.5, 1.0)]
    return [
        Claim(
            "Largest error of squared singular values and divergences of a linear decoder with w >= L in {0, 0.5, 1}",
            "Derived: w^2 = max(L^2, lambda - beta s); truth: the exact loss, minimised within bounds",
            worst,
            "< 1e-3",
            None,
            worst < 1e-3,
        ),
        Claim(
            "Relative Fisher information of posterior and prior at L = 1 over that at L = 0.5, of a unit below "
            "the threshold",
            f"{PAPER}, theorem: bounded below by L^2 times the mean square of the score",
            fisher[1] / fisher[0],
            ">= 4",
            None,
            fisher[1] >= 4 * fisher[0],
        ),
    ]


def _fisher(rng: np.random.Generator, value: float, noise: float, w: float, draws: int = 200_000) -> float:
    """E |grad log p(z | x) - grad log p(z)|^2 = E |w (x - w z) / s|^2, z from the exact posterior."""
    x = np.sqrt(value) * rng.normal(size=draws)
    z = w * x / (w**2 + noise) + np.sqrt(noise / (w**2 + noise)) * rng.normal(size=draws)
    return float(np.mean((w * (x - w * z) / noise) ** 2))


def _watch(state: Any, target: Any) -> Any:
    model = target.at(state.z)

    def row(x: Any) -> Any:
        mean, cov = state.conditional.given(x).mean_and_cov()
        scale = jnp.diagonal(cov)
        return 0.5 * (mean**2 + scale - 1 - jnp.log(scale)), mean, jnp.mean((model.reconstruct(mean) - x) ** 2)

    divergence, means, error = jax.vmap(row)(target.data)
    each = jnp.mean(divergence, 0)
    return jnp.sum(each), jnp.sum(each > USED), jnp.mean(error), jnp.sum(jnp.var(means, 0) > 0.01)


def _trained(steps: int) -> tuple[list[tuple[float, ...]], list[Any]]:
    """(divergence, units in use, squared error, units of moving mean) for each L and a perceptron; the decoders."""
    rng = np.random.default_rng(5)
    centres = np.array([[2.0, 0.0], [-1.0, 1.7], [-1.0, -1.7]])
    two = centres[rng.integers(3, size=150)] + 0.3 * rng.normal(size=(150, 2))
    X = jnp.asarray(
        0.6 * two @ np.linalg.qr(rng.normal(size=(COLUMNS, 2)))[0].T + 0.1 * rng.normal(size=(150, COLUMNS))
    )
    head = MeanField(K)
    encoder = perceptron_encoder(jax.random.key(6), X.mean(0), X.std(0), (24,), head.context)
    start = X.mean(0)[:, None]
    decoders: list[Any] = [inverse_lipschitz_decoder(jax.random.key(7), K, HIDDEN, start, c) for c in CONSTANTS]
    decoders.append(perceptron_decoder(jax.random.key(7), K, HIDDEN, start))
    runs, trained = [], []
    for decoder in decoders:
        target = latent_rows(LatentModel(StandardNormal(K), decoder, fixed(NOISE)), X)
        algorithm: Any = AmortisedVI(Encoded(encoder, head), BetaElbo(BETA), learning_rate=1e-2)
        keys = jax.random.split(jax.random.key(8), 1)
        states, seen = train_each(keys, algorithm, target, steps, _watch, steps, hasty=False)
        runs.append(tuple(float(s[0, -1]) for s in seen))
        trained.append(target.at(states.z[0]).decoder)
    return runs, trained[:-1]


def _toy(runs: list[tuple[float, ...]]) -> list[Claim]:
    divergences, units, errors, moving = zip(*runs[:-1], strict=True)
    least = constrained_collapse(np.zeros(1), NOISE, 1.0, BETA)[1][0]  # of a unit that tells nothing
    plain = runs[-1]
    rising = bool(np.all(np.diff(divergences) > 0) and np.all(np.diff(units) >= 0))
    words = ", ".join(f"{d:.2f}" for d in divergences)
    told = ", ".join(f"{e:.3f}" for e in errors)
    return [
        Claim(
            f"Divergence (nats a row) at L = 1 of three clusters in {COLUMNS} columns, beta 4; L in {CONSTANTS} gives "
            f"{words}; baseline: a perceptron",
            f"{PAPER}: L controls the degree of collapse",
            divergences[-1],
            "rising with L, and > baseline",
            plain[0],
            rising and divergences[-1] > plain[0],
        ),
        Claim(
            f"Units of 2 with a divergence above {USED} nats at L = 1 (baseline: L = 0); a linear decoder leaves each "
            f"at {least:.3f} or more, whatever the rows are. Means of {moving[-1]:.0f} vary by more than 0.01; squared "
            f"errors of reconstructions {told}, perceptron {plain[2]:.3f}",
            f"{PAPER}: collapse at L = 0, none at L > 0",
            units[-1],
            "2, and baseline < 2",
            units[0],
            units[-1] == 2 and units[0] < 2,
        ),
    ]


def _draw(runs: list[tuple[float, ...]], path: Path) -> None:
    """Divergence and squared error over L, the perceptron as a line."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3), layout="constrained")
    for axes, i, words in zip(figure.subplots(1, 2), (0, 2), ("divergence (nats a row)", "squared error"), strict=True):
        axes.plot(CONSTANTS, [run[i] for run in runs[:-1]], "o-", label="constrained")
        axes.axhline(runs[-1][i], color="grey", linestyle="--", label="perceptron")
        axes.set(xlabel="L", ylabel=words)
        axes.legend()
    figure.savefig(path)
