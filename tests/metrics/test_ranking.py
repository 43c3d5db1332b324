"""Recall and NDCG of rankings worked out by hand."""

import numpy as np
import pytest

from jensen.core import InputError
from jensen.metrics import ndcg_at, recall_at

SCORES = np.array([[0.9, 0.8, 0.7, 0.6, 0.5], [0.1, 0.2, 0.3, 0.4, 0.5], [1.0, 1.0, 1.0, 1.0, 1.0]])
SEEN = np.array([[1, 0, 0, 0, 0], [0, 0, 0, 0, 1], [0, 0, 0, 0, 0]])
HELD = np.array([[0, 0, 1, 1, 0], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0]])


def test_recall_and_ndcg_by_hand():
    """User 0 ranks items 1 2 3 4: hits at ranks 2 and 3 of two; user 1 ranks 3 2 1 0: a hit at rank 4 of one."""
    np.testing.assert_allclose(recall_at(SCORES, HELD, SEEN, 2), [1 / 2, 0.0])
    np.testing.assert_allclose(recall_at(SCORES, HELD, SEEN, 4), [1.0, 1.0])
    np.testing.assert_allclose(recall_at(SCORES, HELD, SEEN, 1), [0.0, 0.0])
    ideal = 1 + 1 / np.log2(3)
    np.testing.assert_allclose(ndcg_at(SCORES, HELD, SEEN, 2), [(1 / np.log2(3)) / ideal, 0.0])
    np.testing.assert_allclose(ndcg_at(SCORES, HELD, SEEN, 4), [(1 / np.log2(3) + 1 / 2) / ideal, 1 / np.log2(5)])
    # the denominator is what k places can hold
    np.testing.assert_allclose(recall_at([[3, 2, 1.0]], [[1, 1, 1]], [[0, 0, 0]], 2), [1.0])
    np.testing.assert_allclose(ndcg_at([[3, 2, 1.0]], [[1, 1, 1]], [[0, 0, 0]], 2), [1.0])


def test_a_random_ranking_has_the_recall_of_chance():
    """Of 50 items with ten held out: 20 / 50 of them among the first 20, to five standard errors."""
    rng = np.random.default_rng(0)
    held = np.zeros((4000, 50))
    held[:, :10] = 1
    found = recall_at(rng.random((4000, 50)), held, np.zeros_like(held), 20)
    error = found.std(ddof=1) / np.sqrt(len(found))
    assert abs(found.mean() - 0.4) < 5 * error < 0.02


@pytest.mark.parametrize(
    ("change", "words"),
    [({"k": 6}, "between 1 and the 5"), ({"seen": HELD}, "both seen"), ({"held_out": HELD[:2]}, "one shape")],
)
def test_bad_input(change, words):
    given = {"scores": SCORES, "held_out": HELD, "seen": SEEN, "k": 2} | change
    with pytest.raises(InputError, match=words):
        ndcg_at(**given)
