"""P071: a survey on variational autoencoders from a GreenAI perspective (Asperti, Evangelista and Piccolomini, 2021).

What is claimed: variants can be compared fairly on one network and budget, with their cost in operations beside their
quality; a density fitted to the codes afterwards mends the draws of regularised autoencoders; healthy latents keep the
variance law, Var(mean) + E[variance] = 1. Truths: the linear autoencoder keeps the law exactly; a layer's operations
are counted by hand. The whole table is `jensen bench vae_zoo`. Their CIFAR and CelebA are not to be had here.
"""

import time
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jensen.vae import fit_linear, linear_vae
from jensen_papers.result import Claim, Result
from jensen_papers.vae._linear import linear_data, moments
from jensen_papers.vae._zoo import ZOO, Row, floor, measure

PAPER = "Asperti, Evangelista and Piccolomini (2021)"
SHOWN = ("VAE", "VAE, learned noise")  # beside the autoencoder, in quick mode


def reproduce(full: bool = False, figure: Path | None = None) -> Result:
    """Measure the claims, and write a figure to `figure` if given; `full` trains longer and shows every variant."""
    began = time.perf_counter()
    with jax.enable_x64(True):
        claims = [_variance_law()]
    with jax.enable_x64(False):
        claims.append(_layer())
        epochs = 400 if full else 80
        runs = [measure(ZOO["autoencoder, L2"], seed, epochs) for seed in (0, 1, 2)]
        claims.append(_mended([row for row, _ in runs]))
        table = {name: measure(ZOO[name], 0, epochs) for name in (ZOO if full else SHOWN)}
        table["autoencoder, L2"] = runs[0]
        claims += _compared({name: row for name, (row, _) in table.items()})
    if figure is not None:
        _draw({name: draws for name, (_, draws) in table.items()}, figure)
    return Result("P071", "green-autoencoders", time.perf_counter() - began, tuple(claims))


def _variance_law() -> Claim:
    """Of the linear autoencoder at its optimum, unit by unit, used or not."""
    X = linear_data(np.random.default_rng(0), 1000, 8, 3)
    _, conditional, _ = fit_linear(*linear_vae(jax.random.key(1), 8, 4), X)
    means, scales = moments(conditional, X)
    off = float(np.max(np.abs(np.var(means, 0) + np.mean(scales**2, 0) - 1)))
    return Claim(
        "Largest |Var(mean) + E[variance] - 1| of the units of a linear autoencoder at its optimum, 3 of 4 used",
        "Derived: (lambda - s) / lambda + s / lambda",
        off,
        "< 1e-3",
        None,
        off < 1e-3,
    )


def _layer(into: int = 64, out: int = 128, rows: int = 32) -> Claim:
    """Operations of a linear layer, counted by XLA and by hand."""
    layer = eqx.nn.Linear(into, out, use_bias=False, key=jax.random.key(0))
    counted = jax.jit(jax.vmap(layer)).lower(jnp.zeros((rows, into))).cost_analysis()
    ratio = float(counted["flops"]) / rows / (2 * into * out)  # pyright: ignore[reportOptionalSubscript]
    return Claim(
        "Operations of a linear layer by XLA's count over 2 in out",
        f"{PAPER}, section 3: operations as the measure of cost",
        ratio,
        "in [0.9, 1.1]",
        None,
        0.9 <= ratio <= 1.1,
    )


def _mended(rows: list[Row]) -> Claim:
    before, after = np.array([r.prior for r in rows]), np.array([r.mixture for r in rows])
    spread = float(max(before.std(ddof=1), after.std(ddof=1)))
    least = float(np.min(before - after))
    return Claim(
        "Least fall over 3 splits of the Frechet distance of an L2-regularised autoencoder's draws when a mixture of "
        f"ten is fitted to its codes ({before.mean():.2f} to {after.mean():.2f})",
        f"{PAPER}, section 6, after Ghosh et al. (2020)",
        least,
        f"> {spread:.3f}, the spread over splits",
        None,
        least > spread,
    )


def _compared(table: dict[str, Row]) -> list[Claim]:
    plain, learned = table["VAE"], table["VAE, learned noise"]
    least = floor(0)
    cells = "; ".join(
        f"{name}: bound {row.bound:.1f}, error {row.error:.2f}, Frechet {row.prior:.2f} / {row.mixture:.2f}, inactive "
        f"{row.inactive:.0f}, variance {row.variance:.2f}, {row.flops:.0f} kflop, {row.seconds:.1f} s"
        for name, row in table.items()
    )
    cheapest = min(table, key=lambda name: table[name].flops)
    return [
        Claim(
            f"Bound of a held-out row (nats), noise scale learned against fixed at 0.15. Table: {cells}",
            f"{PAPER}, section 4.1: the balance of the two terms decides",
            learned.bound,
            "> baseline - 1",
            plain.bound,
            learned.bound > plain.bound - 1,
        ),
        Claim(
            "Mean over latents of Var(mean) + E[variance] of the plain autoencoder",
            f"{PAPER}, section 7: about one where training is healthy",
            plain.variance,
            "in [0.85, 1.15]",
            None,
            0.85 <= plain.variance <= 1.15,
        ),
        Claim(
            "Frechet distance of the plain autoencoder's draws, against that of held-out rows themselves",
            "Derived: the floor",
            plain.prior,
            "> baseline",
            least,
            plain.prior > least,
        ),
        Claim(
            f"Thousands of operations of a step a row of the cheapest variant ({cheapest}), against the VAE's",
            f"{PAPER}, table of costs: deterministic autoencoders cost least",
            table[cheapest].flops,
            "<= baseline",
            plain.flops,
            table[cheapest].flops <= plain.flops,
        ),
    ]


def _draw(draws: dict[str, np.ndarray], path: Path) -> None:
    """Draws from the prior, a row a variant."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 0.7 * len(draws)), layout="constrained")
    for row, (name, images) in zip(figure.subplots(len(draws), 10), draws.items(), strict=True):
        for ax, image in zip(row, images[:10], strict=True):
            ax.imshow(image.reshape(8, 8), cmap="gray_r", vmin=0, vmax=1)
            ax.set(xticks=[], yticks=[])
        row[0].set_ylabel(name, rotation=0, ha="right", va="center")
    figure.savefig(path)
