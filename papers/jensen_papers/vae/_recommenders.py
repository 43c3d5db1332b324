"""Recommenders to compare with, each a matrix of scores (users, items), and the protocol of held-out users."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Split:
    """Clicks (users, items) of 0 and 1: users to train on; of others, what is shown and what is to be found."""

    train: np.ndarray
    seen: np.ndarray
    held: np.ndarray


def fold(rng: np.random.Generator, clicks: np.ndarray, share: float = 0.8) -> tuple[np.ndarray, np.ndarray]:
    """(seen, held out): of each user's items the first `share` in random order, and the rest."""
    places = np.argsort(np.where(clicks > 0, rng.random(clicks.shape), np.inf), 1)
    ranks = np.argsort(places, 1)
    seen = (clicks > 0) & (ranks < np.ceil(share * clicks.sum(1))[:, None])
    return seen.astype(float), ((clicks > 0) & ~seen).astype(float)


def held_out_users(rng: np.random.Generator, clicks: np.ndarray, users: int) -> tuple[Split, Split]:
    """Strong generalisation: (validation, test), `users` each that training never sees, on items that it has seen."""
    order = rng.permutation(len(clicks))
    train = clicks[order[2 * users :]]
    items = train.sum(0) > 0
    train = train[:, items]
    pairs = [fold(rng, clicks[order[part]][:, items]) for part in (slice(users), slice(users, 2 * users))]
    validation, test = (Split(train, *pair) for pair in pairs)
    return validation, test


def popularity(split: Split) -> np.ndarray:
    """Each item's number of clicks, the same for all users."""
    return np.broadcast_to(split.train.sum(0), split.seen.shape)


def item_neighbours(split: Split, neighbours: int = 100) -> np.ndarray:
    """Sum over seen items of cosine similarities, of each item the nearest alone."""
    lengths = np.sqrt(np.maximum(split.train.sum(0), 1))
    cosine = split.train.T @ split.train / np.outer(lengths, lengths)
    np.fill_diagonal(cosine, 0.0)
    least = -np.partition(-cosine, min(neighbours, len(cosine) - 1), 0)[min(neighbours, len(cosine) - 1)]
    return split.seen @ np.where(cosine >= least, cosine, 0.0)


def ridge_items(split: Split, penalty: float) -> np.ndarray:
    """EASE: X B with B = argmin |X - X B|^2 + penalty |B|^2 of zero diagonal (Steck 2019)."""
    inverse = np.linalg.inv(split.train.T @ split.train + penalty * np.eye(split.train.shape[1]))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0.0)
    return split.seen @ weights


def truncated_svd(split: Split, rank: int) -> np.ndarray:
    """Clicks projected on the training clicks' leading right singular vectors."""
    _, vectors = np.linalg.eigh(split.train.T @ split.train)
    leading = vectors[:, -rank:]
    return split.seen @ leading @ leading.T


def nonnegative_factors(split: Split, rank: int, rounds: int = 100) -> np.ndarray:
    """Non-negative factors by multiplicative updates of the Kullback-Leibler divergence, held-out users folded in."""
    rng = np.random.default_rng(0)
    scale = np.sqrt(split.train.mean() / rank)
    factors = scale * rng.uniform(0.5, 1.5, (rank, split.train.shape[1]))
    loadings = scale * rng.uniform(0.5, 1.5, (len(split.train), rank))
    for _ in range(rounds):
        loadings *= (split.train / (loadings @ factors + 1e-9)) @ factors.T / factors.sum(1)
        factors *= loadings.T @ (split.train / (loadings @ factors + 1e-9)) / loadings.sum(0)[:, None]
    shown = scale * np.ones((len(split.seen), rank))
    for _ in range(rounds):
        shown *= (split.seen / (shown @ factors + 1e-9)) @ factors.T / factors.sum(1)
    return shown @ factors
