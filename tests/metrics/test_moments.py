"""Errors of marginals against reference draws: exact for shifted and stretched copies."""

import numpy as np
import pytest

from jensen.core import InputError
from jensen.metrics import compare_to_reference


def test_a_shifted_and_stretched_copy_has_the_errors_it_was_given():
    quantiles = np.linspace(0, 1, 20_001)
    logistic = np.log(quantiles[1:-1] / (1 - quantiles[1:-1]))  # robust sd 2 log 3 / 1.349
    robust = 2 * np.log(3) / 1.3489795003921634
    reference = {"a": logistic, "b": np.stack([logistic, 5 + 2 * logistic], 1)}
    draws = {
        "a": logistic + 0.1 * robust,
        "b": np.stack([1.3 * logistic, 5 + 2 * logistic], 1),
        "extra": np.zeros(3),
    }
    result = compare_to_reference(draws, reference)
    assert result.names == ("a", "b[0]", "b[1]")
    # 1e-3: quantiles of 20,001 points
    np.testing.assert_allclose(result.median_error, [0.1, 0.0, 0.0], atol=1e-3)
    np.testing.assert_allclose(result.width_ratio, [1.0, 1.3, 1.0], atol=1e-3)
    assert not result.agrees()
    assert result.agrees(width=0.31)
    assert "b[0]" in str(result)


@pytest.mark.parametrize("seed", range(5))
def test_independent_draws_of_one_distribution_agree(seed):
    """The error of a median is sqrt(pi / 2 (1/n + 1/m)) sd; that of a width ratio is 0.64 as much again."""
    rng = np.random.default_rng(seed)
    result = compare_to_reference(rng.normal(size=(4000, 6)), rng.normal(size=(10_000, 6)))
    error = np.sqrt(0.5 * np.pi * (1 / 4000 + 1 / 10_000))
    assert result.worst_median < 5 * error
    assert result.worst_width < 5 * error
    assert result.agrees()


def test_constants_and_nan_are_told_apart():
    same, other = np.ones((10, 1)), np.full((10, 1), 2.0)
    assert compare_to_reference(same, same).agrees()
    assert not compare_to_reference(other, same).agrees()
    assert not compare_to_reference(np.full((10, 1), np.nan), np.random.default_rng(0).normal(size=(10, 1))).agrees()


@pytest.mark.parametrize(
    ("draws", "reference"),
    [
        ({"b": np.zeros(5)}, {"a": np.zeros(5)}),
        ({"a": np.zeros((5, 2))}, {"a": np.zeros((5, 3))}),
        ({"a": np.zeros(5)}, np.zeros((5, 1))),
        (np.zeros((1, 2)), np.zeros((5, 2))),
    ],
)
def test_what_cannot_be_compared_is_refused(draws, reference):
    with pytest.raises(InputError):
        compare_to_reference(draws, reference)
