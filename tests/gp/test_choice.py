"""Which representation the estimators take."""

import numpy as np
import pytest

from jensen.core import InputError
from jensen.gp._choice import choose
from jensen.gp._estimator import pad_times, stretch
from jensen.gp.kernels import RBF, Matern32, Matern52, Periodic

LONG = Matern32(1.0) * Periodic(1.0, 1.0)


@pytest.mark.parametrize(
    ("kernel", "n", "d", "values", "kind", "words"),
    [
        (Matern52(), 300, 1, 1, "exact", "300 latent values are at most 1000"),
        (Matern52(), 1500, 1, 1, "state_space", "3 states"),
        (Matern52(), 500, 1, 3, "state_space", "9 states: exact, and linear in the 1500"),
        (Matern52(), 900_000, 1, 1, "state_space", "linear"),
        (RBF(), 1500, 1, 1, "exact", "RBF has no finite state-space form"),
        (RBF(), 3000, 1, 1, "inducing", "RBF has no finite state-space form"),
        (Matern52(), 3000, 4, 1, "inducing", "4 inputs have no state-space form"),
        (LONG, 5000, 1, 1, "state_space", "34 states"),
        (LONG, 50_000, 1, 1, "inducing", "34 states needs too much memory"),
    ],
)
def test_a_choice_and_its_reason(kernel, n, d, values, kind, words):
    choice = choose("auto", kernel, np.broadcast_to(np.zeros(1), (n, d)), values)
    assert choice.kind == kind
    assert words in str(choice)


def test_what_is_asked_for_is_taken_where_it_is_possible():
    assert choose("exact", Matern52(), np.zeros((5000, 1))) == ("exact", "as asked")
    assert choose("state_space", LONG, np.zeros((50_000, 1))).kind == "state_space"
    with pytest.raises(InputError, match="X has 2 columns"):
        choose("state_space", Matern52(), np.zeros((9, 2)))


def test_a_stretch_is_the_middle_of_the_series_in_order():
    t = np.random.default_rng(0).permutation(np.arange(10.0))[:, None]
    np.testing.assert_array_equal(t[stretch(t, 4), 0], [3, 4, 5, 6])
    np.testing.assert_array_equal(t[stretch(t, 20), 0], np.arange(10.0))


def test_later_times_that_pad_keep_a_grid():
    np.testing.assert_allclose(pad_times(np.array([[1.0], [0.5], [1.5]]), 5)[:, 0], [1.0, 0.5, 1.5, 2.0, 2.5])
