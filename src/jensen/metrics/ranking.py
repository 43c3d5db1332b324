"""Rankings of items for users against the items that they went on to choose."""

from typing import Any

import numpy as np

from jensen.core import InputError


def recall_at(scores: Any, held_out: Any, seen: Any, k: int) -> np.ndarray:
    """Recall@k of each user: hits among the k best items / min(k, number of held-out items).

    `scores`: (users, items), higher is better. `held_out`, `seen`: of the same shape, true or nonzero where an item is
    to be found, and where it is known already and takes no part in the ranking. Users without held-out items are left
    out of the result. Ties go to the item with the lower number.

    Raises `InputError` for shapes that do not agree, an item both seen and held out, or k outside 1 .. items.
    Source: Liang, Krishnan, Hoffman and Jebara (2018), section 4.3.
    """
    hits, counts = _hits(scores, held_out, seen, k)
    return hits.sum(1) / np.minimum(k, counts)


def ndcg_at(scores: Any, held_out: Any, seen: Any, k: int) -> np.ndarray:
    """NDCG@k of each user: sum over hits at rank r <= k of 1 / log2(r + 1), over that of the ideal ranking.

    The ideal puts all held-out items first. Arguments, users left out and errors: as `recall_at`.

    Source: Jaervelin and Kekaelaeinen (2002), Cumulated gain-based evaluation of IR techniques, for binary gains.
    """
    hits, counts = _hits(scores, held_out, seen, k)
    discount = 1 / np.log2(np.arange(2, k + 2))
    return hits @ discount / np.cumsum(discount)[np.minimum(k, counts) - 1]


def _hits(scores: Any, held_out: Any, seen: Any, k: int) -> tuple[np.ndarray, np.ndarray]:
    """(whether the item at each of the k best ranks is held out, number of held-out items), users that have some."""
    scores, held_out, seen = np.asarray(scores, float), np.asarray(held_out) != 0, np.asarray(seen) != 0
    if scores.ndim != 2 or not scores.shape == held_out.shape == seen.shape:
        shapes = f"{scores.shape}, {held_out.shape} and {seen.shape}"
        raise InputError(f"Scores, held-out and seen items must have one shape (users, items), got {shapes}")
    if not 1 <= k <= scores.shape[1]:
        raise InputError(f"k must lie between 1 and the {scores.shape[1]} items, got {k}")
    if np.any(held_out & seen):
        raise InputError("Some items are both seen and held out: what is asked for must not be shown")
    users = held_out.any(1)
    ranked = np.argsort(np.where(seen, np.inf, -scores)[users], 1, kind="stable")[:, :k]
    return np.take_along_axis(held_out[users], ranked, 1).astype(float), held_out[users].sum(1)
