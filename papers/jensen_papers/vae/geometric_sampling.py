"""P117: a geometric perspective on variational autoencoders (Chadebec and Allassonniere, 2022).

What is claimed: the encoder's covariances draw a Riemannian metric on the latents, and draws that are uniform by its
volume decode to better rows than draws of the prior, most so with few training rows. Baselines: the prior N(0, I), and
a Gaussian mixture fitted to the codes. It holds at the authors' width, where draws keep to the codes at which they
begin; with a width of about the distance of neighbouring codes they gather where the encoder is surest, and are worse
than the prior's: a claim of its own. A published sampler has momenta of half the scale that its acceptance assumes: its
law is the fourth power of the one meant, here a temperature of 1/4. `--full` takes binarised MNIST with 100, 500 and
2,000 rows.
"""

import time
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import jensen as jn
from jensen.vae import VAE, LatentMetric, latent_metric, sample_metric
from jensen_papers.result import Claim, Result

PAPER = "Chadebec and Allassonniere (2022)"
FEATURES = 20  # principal components in which rows are compared
WIDTH = 0.3  # of the metric, in units of the encoder's scales: the default of the authors' code


def reproduce(full: bool = False, figure: Path | None = None) -> Result:
    """Measure the claims, and write a figure to `figure` if given; `full` takes MNIST."""
    began = time.perf_counter()
    with jax.enable_x64(True):
        claims = _volume()
    generated, shown = _mnist() if full else _digits()
    if figure is not None:
        _draw(shown, figure)
    return Result("P117", "geometric-sampling", time.perf_counter() - began, (*claims, *generated))


def _total_variation(counts: np.ndarray, law: np.ndarray) -> float:
    return 0.5 * float(np.abs(counts / counts.sum() - law / law.sum()).sum())


def _volume(draws: int = 4000, bins: int = 20) -> list[Claim]:
    """Draws in two dimensions against quadrature of the volume, and of its fourth power."""
    rng = np.random.default_rng(0)
    means, scales = jnp.asarray(rng.normal(size=(30, 2))), jnp.asarray(np.exp(rng.uniform(-1.5, -0.7, (30, 2))))
    metric: Any = LatentMetric(means, scales**-2.0, 2.0, 1e-2, 0.3)
    points = jnp.asarray(rng.normal(size=(1000, 2)) * 3)
    least = float(jnp.min(jax.jit(jax.vmap(metric))(points)))
    edge, fine = np.linspace(-6, 6, bins + 1), 10
    line = -6 + 12 * (np.arange(bins * fine) + 0.5) / (bins * fine)
    grid = jnp.asarray(np.stack(np.meshgrid(line, line, indexing="ij"), -1).reshape(-1, 2))
    log_volume = np.asarray(jax.jit(jax.vmap(metric.log_volume))(grid))

    def binned(power: float) -> np.ndarray:
        law = np.exp(power * (log_volume - log_volume.max()))
        return law.reshape(bins, fine, bins, fine).sum((1, 3))

    law, sharp = binned(1.0), binned(4.0)
    counts = []
    for temperature in (1.0, 0.25):
        z = np.asarray(sample_metric(jax.random.key(1), metric, draws, temperature, chains=100, warmup=60))
        counts.append(np.histogram2d(z[:, 0], z[:, 1], (edge, edge))[0])
    ideal = rng.multinomial(draws, (law / law.sum()).ravel()).reshape(law.shape)
    off, noise = _total_variation(counts[0], law), _total_variation(ideal, law)
    apart = _total_variation(counts[1], law)
    words = f"Total variation of {draws} draws from sqrt det G by quadrature on a {bins} x {bins} grid"
    where = f"{PAPER}, section 4: Hamiltonian Monte Carlo on the volume"
    bound = noise + 0.04
    return [
        Claim("Least eigenvalue of the metric at 1,000 points", where, least, "> 0", None, least > 0),
        Claim(f"{words}; baseline: as many independent draws", where, off, f"< {bound:.2g}", noise, off < bound),
        Claim(
            f"{words}, when drawn at temperature 1/4 (the law of the published sampler)",
            "Its momenta have half the scale that its acceptance assumes; row P117, from the authors' code",
            apart,
            "> 0.2",
            off,
            apart > 0.2,
        ),
        Claim(
            f"Total variation of the draws at temperature 1/4 from det G squared; {draws} draws",
            "Derived",
            _total_variation(counts[1], sharp),
            "< 0.15",
            None,
            _total_variation(counts[1], sharp) < 0.15,
        ),
    ]


def _frechet(x: np.ndarray, y: np.ndarray) -> float:
    """|m - n|^2 + tr(S + T - 2 (S T)^1/2) of the moments of two sets of rows."""
    s, t = np.cov(x.T), np.cov(y.T)
    roots = np.sqrt(np.maximum(np.linalg.eigvals(s @ t).real, 0))
    return float(np.sum((x.mean(0) - y.mean(0)) ** 2) + np.trace(s) + np.trace(t) - 2 * roots.sum())


def _compare(
    X: np.ndarray, test: np.ndarray, seeds: range, num: int, settings: dict[str, Any]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Frechet distances of decoded draws to held-out rows, (seeds, samplers), and rows of the last seed by sampler."""
    from sklearn.mixture import GaussianMixture

    centre = test.mean(0)
    basis = np.linalg.svd(test - centre, full_matrices=False)[2][:FEATURES].T
    table, rows = [], {}
    for seed in seeds:
        vae = VAE(likelihood="bernoulli", random_state=seed, validation_fraction=0.0, **settings).fit(X)
        key = jax.random.key(seed)
        codes = {"prior": np.random.default_rng(seed).normal(size=(num, settings["latent_dim"]))}
        with jax.enable_x64(True):
            metric = latent_metric(key, vae.conditional_, jnp.asarray(X), min(300, len(X)), WIDTH)
            wide = eqx.tree_at(lambda m: m.width, metric, 10 * metric.width)
            for name, found in (("metric", metric), ("ten times the width", wide)):
                codes[name] = np.asarray(sample_metric(key, found, num, chains=num // 4, warmup=6))
        mixture = GaussianMixture(10, random_state=seed, reg_covar=1e-3).fit(vae.transform(X))
        codes["mixture of 10"] = mixture.sample(num)[0]
        rows = {name: vae.inverse_transform(z) for name, z in codes.items()}
        table.append([_frechet((r - centre) @ basis, (test - centre) @ basis) for r in rows.values()])
    return np.asarray(table), rows


def _claims(table: np.ndarray, words: str) -> list[Claim]:
    means = table.mean(0)
    gain = table[:, 0] - table[:, 1]
    error = float(np.std(gain, ddof=1) / np.sqrt(len(gain)))
    where = f"{PAPER}, abstract: competitive generation, robust to few training rows; no table read"
    label = f"Frechet distance in {FEATURES} principal components, mean of {len(table)} seeds, {words}: by volume"
    note = "Not claimed by them: draws gather where the encoder is surest"
    lost = means[2] > means[0]
    return [
        Claim(
            f"{label} against N(0, I); paired standard error {error:.2g}",
            where,
            means[1],
            "< baseline",
            means[0],
            means[1] < means[0],
        ),
        Claim(
            f"{label}, ten times the width, against N(0, I)",
            note,
            means[2],
            "> baseline",
            means[0],
            lost,
        ),
        Claim(
            f"{label} against a mixture of 10 Gaussians on the codes",
            f"{PAPER}: competitive; no claim to be ahead",
            means[1],
            "< 1.5 baseline",
            means[3],
            means[1] < 1.5 * means[3],
        ),
    ]


def _digits() -> tuple[list[Claim], Any]:
    """Digits thresholded at 8: 300 rows to train on."""
    images = np.asarray(jn.datasets.load("digits")["images"], float).reshape(-1, 64)
    order = np.random.default_rng(0).permutation(len(images))
    X = (images >= 8).astype(float)[order]
    settings: dict[str, Any] = dict(latent_dim=8, hidden=(64,), epochs=200, learning_rate=3e-3, batch_size=50)
    table, rows = _compare(X[:300], X[300:], range(3), 500, settings)
    return _claims(table, "300 rows of thresholded digits, 8 latents, 500 decoded draws"), rows


def _mnist() -> tuple[list[Claim], Any]:
    """Binarised MNIST with few rows."""
    data = jn.datasets.load("binarized_mnist")
    train, test = (np.asarray(data[name], float).reshape(-1, 784) for name in ("train", "test"))
    claims, rows = [], {}
    for count in (100, 500, 2000):
        settings: dict[str, Any] = dict(latent_dim=16, hidden=(400,), epochs=300, learning_rate=1e-3, batch_size=50)
        table, rows = _compare(train[:count], test, range(3), 1000, settings)
        claims += _claims(table, f"{count} rows of binarised MNIST, 16 latents, 1,000 decoded draws")
    return claims, rows


def _draw(rows: dict[str, np.ndarray], path: Path) -> None:
    """Decoded draws by sampler."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 2.9), layout="constrained")
    for axes, (name, found) in zip(figure.subplots(1, len(rows)), rows.items(), strict=True):
        side = round(np.sqrt(found.shape[1]))
        picked = found[:: len(found) // 36][:36].reshape(6, 6, side, side)
        grid = np.pad(picked, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=0.5)
        axes.imshow(grid.transpose(0, 2, 1, 3).reshape(6 * (side + 2), -1), cmap="gray_r", vmin=0, vmax=1)
        axes.set(title=name, xticks=[], yticks=[])
    figure.savefig(path)
