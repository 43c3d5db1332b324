"""P116: mixture representation learning with coupled autoencoders (Marghi, Gala, Baftizadeh and Sumbul, 2021).

What is claimed: several autoencoders with a discrete and a continuous latent, which see different augmentations of a
row that keep its type, find types better where they must agree on them. Baselines, same rows: the same arms without
the coupling (each a single autoencoder of that kind), and k-means. Measured here: the coupling makes them agree, and
all are far ahead of k-means; but on these rows the single arms find the types better than the coupled ones: an early
consensus merges types that the reconstruction alone would tell apart. That is a claim of its own. `--full` takes the
digits with noise. The scale of the coupling follows the authors' later code: that of the paper was not found, so that
lambda has no common unit with theirs.
"""

import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jensen as jn
from jensen.vae import CoupledElbo, arm_categories, coupled_autoencoder, likelihoods, train
from jensen_papers.result import Claim, Result

PAPER = "Marghi, Gala, Baftizadeh and Sumbul (2021)"
COLUMNS, FACTORS, SPREAD = 20, 2, 3.0  # of the rows, and of how rows of one type vary
COUPLINGS = (0.0, 1e-4, 1e-3)


def reproduce(full: bool = False, figure: Path | None = None) -> Result:
    """Measure the claims, and write a figure to `figure` if given; `full` adds the digits."""
    began = time.perf_counter()
    with jax.enable_x64(False):
        claims, table = _clusters()
        if full:
            claims += _digits()
    if figure is not None:
        _draw(table, figure)
    return Result("P116", "coupled-mixtures", time.perf_counter() - began, tuple(claims))


def _directions() -> np.ndarray:
    """In which rows of one type vary, (COLUMNS, FACTORS), orthonormal."""
    return np.linalg.qr(np.random.default_rng(99).normal(size=(COLUMNS, FACTORS)))[0]


def vary(key: Any, x: Any) -> Any:
    """A row of the same type: moved along the directions within types."""
    directions = jnp.asarray(_directions(), x.dtype)
    return x + SPREAD * directions @ jax.random.normal(key, (FACTORS,), x.dtype)


def _rows(seed: int, rows: int = 1500, types: int = 6, apart: float = 2.2) -> tuple[np.ndarray, np.ndarray]:
    """Types at random centres, wide along two directions that all share, with noise of deviation 1/2 everywhere."""
    rng = np.random.default_rng(seed)
    kinds = rng.integers(types, size=rows)
    centres = rng.normal(size=(types, COLUMNS))
    centres *= apart / np.linalg.norm(centres, axis=1, keepdims=True)
    along = SPREAD * rng.normal(size=(rows, FACTORS)) @ _directions().T
    return centres[kinds] + along + 0.5 * rng.normal(size=(rows, COLUMNS)), kinds


def _fit(seed: int, X: np.ndarray, types: int, states: int, coupling: float, augment: Any, epochs: int) -> np.ndarray:
    """Categories of the rows by each arm."""
    data = jnp.asarray(X, jnp.float32)
    keys = jax.random.split(jax.random.key(seed))
    likelihood = likelihoods.gaussian(0.5)
    model, arms = coupled_autoencoder(keys[0], data, likelihood, types, states, hidden=(64,))
    objective: Any = CoupledElbo(augment, coupling=coupling)
    settings: Any = dict(epochs=epochs, batch_size=150, learning_rate=3e-3)
    trained = train(keys[1], model, arms, data, objective=objective, **settings)
    return np.asarray(arm_categories(trained.conditional, data))


def _scores(X: np.ndarray, kinds: np.ndarray, found: np.ndarray) -> tuple[float, float, int]:
    """Adjusted Rand index, mean of the arms; share of rows on which they agree; categories in use."""
    from sklearn.metrics import adjusted_rand_score

    index = float(np.mean([adjusted_rand_score(kinds, arm) for arm in found]))
    used = int(np.sum(np.bincount(found[0]) > 0.01 * len(X)))
    return index, float(np.mean(found[0] == found[1])), used


def _table(
    sets: list[tuple[np.ndarray, np.ndarray]], types: int, states: int, augment: Any, epochs: int
) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of `_scores`, (sets, couplings, 3), and the adjusted Rand index of k-means, (sets,)."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score

    clusters: Any = KMeans
    table, means = [], []
    for seed, (X, kinds) in enumerate(sets):
        found = [_fit(seed, X, types, states, coupling, augment, epochs) for coupling in COUPLINGS]
        table.append([_scores(X, kinds, arms) for arms in found])
        means.append(adjusted_rand_score(kinds, clusters(types, n_init=4, random_state=seed).fit_predict(X)))
    return np.asarray(table), np.asarray(means)


def _clusters(seeds: int = 3, epochs: int = 50, types: int = 6) -> tuple[list[Claim], Any]:
    """Types that all vary along the same two directions, further than they lie apart."""
    table, means = _table([_rows(seed) for seed in range(seeds)], types, FACTORS, vary, epochs)
    rand, agreed, used = (table[:, :, i].mean(0) for i in range(3))
    words = f"{types} types in {COLUMNS} columns, 1,500 rows, {FACTORS} states, two arms, mean of {seeds} data sets"
    where = f"{PAPER}, abstract and section 3"
    strengths = ", ".join(f"{c:g}" for c in COUPLINGS)
    rising = bool(np.all(np.diff(agreed) > 0))
    apart = table[:, 0, 0] - table[:, -1, 0]
    error = float(np.std(apart, ddof=1) / np.sqrt(len(apart)))
    return [
        Claim(
            f"Share of rows on which the arms agree, coupling {COUPLINGS[-1]:g} against none: {words}",
            where,
            agreed[-1],
            "> 0.7",
            agreed[0],
            agreed[-1] > 0.7,
        ),
        Claim(
            f"Least rise of that share over couplings {strengths}: {words}",
            where,
            float(np.diff(agreed).min()),
            "> 0",
            None,
            rising,
        ),
        Claim(f"Categories in use by the coupled arms: {words}", where, used[-1], "> 4.5", types, used[-1] > 4.5),
        Claim(
            f"Adjusted Rand index of the coupled arms against k-means: {words}",
            where,
            rand[-1],
            "> baseline + 0.3",
            float(means.mean()),
            rand[-1] > means.mean() + 0.3,
        ),
        Claim(
            f"The paper's claim does not hold on these rows: adjusted Rand index of the coupled arms against the same "
            f"arms uncoupled (paired standard error {error:.2f}): {words}",
            "Theirs: the coupled arms are ahead",
            rand[-1],
            "< baseline + 0.05",
            rand[0],
            rand[-1] < rand[0] + 0.05,
        ),
    ], table


def jitter(key: Any, x: Any) -> Any:
    """An image with noise, of values from 0 to 1."""
    return x + 0.2 * jax.random.normal(key, x.shape, x.dtype)


def _digits(epochs: int = 200) -> list[Claim]:
    """Digits, ten categories."""
    data = jn.datasets.load("digits")
    X, kinds = np.asarray(data["images"], float).reshape(-1, 64) / 16, np.asarray(data["labels"])
    table, means = _table([(X, kinds)] * 3, 10, 4, jitter, epochs)
    ours, alone = float(table[:, -1, 0].mean()), float(table[:, 0, 0].mean())
    words = f"digits, 10 categories, 4 states, mean of 3 seeds; uncoupled arms {alone:.3f}; baseline k-means"
    label = f"Adjusted Rand index of the coupled arms, {words}"
    return [Claim(label, PAPER, ours, "finite", float(means.mean()), bool(np.isfinite(ours)))]


def _draw(table: Any, path: Path) -> None:
    """Adjusted Rand index and agreement over couplings."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3), layout="constrained")
    for i, (axes, name) in enumerate(zip(figure.subplots(1, 2), ("adjusted Rand index", "agreement"), strict=True)):
        for row in table:
            axes.plot([f"{c:g}" for c in COUPLINGS], row[:, i], "o-", color="C0", alpha=0.6)
        axes.set(xlabel="coupling", ylabel=name, ylim=(0, 1))
    figure.savefig(path)
