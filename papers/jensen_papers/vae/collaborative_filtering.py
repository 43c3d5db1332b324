"""P014: variational autoencoders for collaborative filtering (Liang, Krishnan, Hoffman and Jebara, 2018).

What is claimed: a variational autoencoder with a multinomial likelihood, trained with dropout and with the divergence
annealed to a cap below one, ranks unseen items of unseen users better than linear recommenders. Baselines: popularity,
truncated SVD and non-negative factors of the same rank; with `--full` also item neighbours and ridge regression of
items on items (EASE), on MovieLens and MovieTweetings. Their MovieLens-20M is not to be had here; of it they report an
NDCG@100 of .426.
"""

import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jensen as jn
from jensen.metrics import ndcg_at, recall_at
from jensen.vae import AnnealedElbo, DroppedInputs, click_scores, multinomial_vae, train
from jensen_papers.result import Claim, Result
from jensen_papers.vae import _recommenders as other

PAPER = "Liang, Krishnan, Hoffman and Jebara (2018)"
CAPS = (0.2, 1.0)


def reproduce(full: bool = False, figure: Path | None = None) -> Result:
    """Measure the claims, and write a figure to `figure` if given; `full` adds the two real data sets."""
    began = time.perf_counter()
    claims, table = _synthetic()
    if full:
        for name in ("movielens", "movietweetings"):
            claims += _real(name)
    if figure is not None:
        _draw(table, figure)
    return Result("P014", "collaborative-filtering", time.perf_counter() - began, tuple(claims))


def mult_vae(
    split: other.Split, cap: float, latent: int, hidden: int, epochs: int, batch: int = 100, seed: int = 0
) -> np.ndarray:
    """Scores of the held-out users by a multinomial autoencoder trained on the others, in single precision."""
    with jax.enable_x64(False):
        key_parts, key_run = jax.random.split(jax.random.key(seed))
        model, conditional = multinomial_vae(key_parts, split.train, latent, hidden)
        steps = epochs * (len(split.train) // batch)
        objective: Any = DroppedInputs(AnnealedElbo(cap, rise=0.5 * steps / cap))
        rows = jnp.asarray(split.train, jnp.float32)
        trained = train(
            key_run,
            model,
            conditional,
            rows,
            objective=objective,
            epochs=epochs,
            batch_size=batch,
            learning_rate=3e-3,
            progress=False,
        )
        return np.asarray(click_scores(trained.model, trained.conditional, jnp.asarray(split.seen, jnp.float32)))


def _synthetic(users: int = 2000, items: int = 300, rank: int = 8) -> tuple[list[Claim], dict[str, np.ndarray]]:
    """Clicks of a log-linear model of eight latents, 30 to 60 a user; 200 users are held out, their truth known."""
    rng = np.random.default_rng(0)
    popular = rng.normal(size=items)
    logits = rng.normal(size=(users, rank)) @ rng.normal(size=(rank, items)) / np.sqrt(2) + popular
    keys = logits + rng.gumbel(size=logits.shape)
    ranks = np.argsort(np.argsort(-keys, 1), 1)
    clicks = (ranks < rng.integers(30, 61, users)[:, None]).astype(float)
    seen, held = other.fold(rng, clicks[:200])
    split = other.Split(clicks[200:], seen, held)
    scores = {
        "popularity": other.popularity(split),
        "truncated SVD": other.truncated_svd(split, rank),
        "non-negative factors": other.nonnegative_factors(split, rank),
    }
    scores |= {f"autoencoder, cap {cap:g}": mult_vae(split, cap, rank, 64, 25) for cap in CAPS}
    scores["true probabilities"] = logits[:200]
    table = {name: ndcg_at(values, held, seen, 20) for name, values in scores.items()}
    ours = max((name for name in table if "cap" in name), key=lambda name: float(table[name].mean()))
    words = f"NDCG@20 of 200 held-out users, {items} items, {rank} latents, {ours}"
    claims = []
    for name, ahead in (("popularity", 3), ("truncated SVD", -1), ("non-negative factors", -1)):
        gap = table[ours] - table[name]
        error = float(gap.std(ddof=1) / np.sqrt(len(gap)))
        claims.append(
            Claim(
                f"{words}, against {name}",
                f"{PAPER}, table 2: ahead of linear recommenders",
                table[ours].mean(),
                f"> baseline {ahead:+d} standard errors ({error:.4f}) of the paired difference",
                table[name].mean(),
                gap.mean() > ahead * error,
            )
        )
    low, high = (table[f"autoencoder, cap {cap:g}"] for cap in CAPS)
    worse = min(low.mean() - high.mean(), 0.0)
    error = float((low - high).std(ddof=1) / np.sqrt(len(low)))
    claims.append(
        Claim(
            f"NDCG@20 at cap {CAPS[0]:g}, with cap {CAPS[1]:g} as baseline (which is better depends on the data)",
            f"{PAPER}, section 2.2.2: a cap below one helps",
            low.mean(),
            f"> baseline - 3 standard errors ({error:.4f})",
            high.mean(),
            worse > -3 * error,
        )
    )
    ceiling = table["true probabilities"].mean()
    share = float(table[ours].mean() / ceiling)
    claims.append(
        Claim(
            "NDCG@20 as a share of that of the true probabilities, which know the user",
            "Derived: the ceiling of any ranking by this model",
            share,
            "in (0.7, 1]",
            None,
            0.7 < share <= 1,
        )
    )
    return claims, table


def clicks_of(name: str) -> np.ndarray:
    """Films liked (4 stars of 5, 8 of 10, or more) by users and of films with at least five, (users, items)."""
    data = jn.datasets.load(name)
    liked = data["rating"] >= (4 if name == "movielens" else 8)
    clicks = np.zeros((data["user"].max() + 1, data["item"].max() + 1), np.float32)
    clicks[data["user"][liked], data["item"][liked]] = 1
    while True:
        users, items = clicks.sum(1) >= 5, clicks.sum(0) >= 5
        if users.all() and items.all():
            return clicks
        clicks = clicks[users][:, items]


def table_of(name: str, epochs: int = 150) -> dict[str, tuple[np.ndarray, ...]]:
    """NDCG@100, Recall@20 and Recall@50 of each held-out user, method by method; settings chosen on other users."""
    clicks = clicks_of(name)
    users = len(clicks) // 10 if len(clicks) < 2000 else 400
    validation, test = other.held_out_users(np.random.default_rng(0), clicks, users)

    def chosen(make: Any, values: tuple[float, ...]) -> np.ndarray:
        def judged(value: float) -> float:
            return float(ndcg_at(make(validation, value), validation.held, validation.seen, 100).mean())

        return make(test, max(values, key=judged))

    scores = {
        "popularity": other.popularity(test),
        "item neighbours": chosen(lambda s, n: other.item_neighbours(s, int(n)), (20, 100, 500)),
        "truncated SVD": chosen(lambda s, r: other.truncated_svd(s, int(r)), (10, 20, 50, 100)),
        "EASE": chosen(other.ridge_items, (50.0, 100.0, 200.0, 500.0, 1000.0)),
        "Mult-VAE": chosen(lambda s, cap: mult_vae(s, cap, 64, 200, epochs), (0.05, 0.2, 1.0)),
    }
    measures = ((ndcg_at, 100), (recall_at, 20), (recall_at, 50))
    return {n: tuple(f(s, test.held, test.seen, k) for f, k in measures) for n, s in scores.items()}


def _real(name: str) -> list[Claim]:
    table = table_of(name)
    ours = table["Mult-VAE"]
    claims = []
    for place, what in enumerate(("NDCG@100", "Recall@20", "Recall@50")):
        best = max((n for n in table if n != "Mult-VAE"), key=lambda n: float(table[n][place].mean()))
        gap = ours[place] - table[best][place]
        error = float(gap.std(ddof=1) / np.sqrt(len(gap)))
        claims.append(
            Claim(
                f"{what} on {name}, {len(gap)} held-out users, against the best of four baselines: {best}",
                f"{PAPER}, table 2 (MovieLens-20M: .426, .395, .535); data of this size are not theirs",
                ours[place].mean(),
                f"> baseline - 2 standard errors ({error:.4f}) of the paired difference",
                table[best][place].mean(),
                gap.mean() > -2 * error,
            )
        )
    return claims


def _draw(table: dict[str, np.ndarray], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 2.8), layout="constrained")
    axes = figure.subplots()
    names = list(table)[::-1]
    means = [table[name].mean() for name in names]
    errors = [table[name].std(ddof=1) / np.sqrt(len(table[name])) for name in names]
    axes.barh(names, means, xerr=errors, color=["grey" if "autoencoder" not in name else "C0" for name in names])
    axes.set(xlabel="NDCG@20 of held-out users (bars: one standard error)")
    figure.savefig(path)
