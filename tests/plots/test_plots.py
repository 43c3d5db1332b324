"""Figures: what they compute, and that they draw for ordinary and odd input without touching global state."""

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from jensen import plots
from jensen.plots._density import density
from jensen.plots.trace import _moving_mean

RNG = np.random.default_rng(0)
NAME = "<script>alert(1)</script> $x_1$"


def test_density_integrates_to_one_and_is_near_the_truth():
    values = RNG.normal(size=1500)
    x, height = density(values)
    assert abs(np.trapezoid(height, x) - 0.996) < 0.01
    truth = np.exp(-0.5 * x**2) / np.sqrt(2 * np.pi)
    # pointwise sd of a kernel estimate: sqrt(p R(K) / n h), R(K) = 1 / (2 sqrt(pi)), h = 0.9 n^(-1/5)
    error = np.sqrt(truth * 0.2821 / (1500 * 0.9 * 1500**-0.2))
    assert np.all(np.abs(height - truth) < 5 * error + 0.02)


def test_density_of_a_scale_does_not_reach_below_zero():
    x, height = density(RNG.exponential(size=1500))
    assert x.min() >= 0
    assert height[0] > 0.7  # without reflection it would be near one half


def test_density_of_a_constant_is_empty():
    assert density(np.full(50, 3.0))[0].size == 0


@pytest.mark.parametrize("seed", range(5))
def test_the_worst_pair_is_found_also_where_correlation_is_zero(seed):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(2000, 6))
    z[:, 4] = np.exp(z[:, 2]) * z[:, 4]  # a funnel: uncorrelated, dependent
    assert plots.worst_pair(z)[:2] == (2, 4)
    z[:, 5] = z[:, 1] + 0.1 * rng.normal(size=2000)
    i, j, dependence = plots.worst_pair(z)
    assert (i, j) == (1, 5)
    assert 0.98 < dependence < 1


def test_moving_mean_is_that_of_the_last_values():
    values = np.array([1.0, np.nan, 3.0, 5.0, 7.0])
    np.testing.assert_allclose(_moving_mean(values, 2), [1.0, 1.0, 3.0, 4.0, 6.0])


FIGURES = {
    "forest": lambda: plots.forest(
        {
            NAME: RNG.normal(size=200),
            "v": RNG.normal(size=(200, 2, 3)),
            "c": np.ones((200, 40)),
            "i": RNG.poisson(3, (200, 2)),
        },
        {"v": [NAME] * 6},
    ),
    "one draw": lambda: plots.forest({"a": np.ones(1)}),
    "pair": lambda: plots.pair(
        RNG.normal(size=50), np.exp(RNG.normal(size=50)), [NAME, "b"], (True, True), np.arange(50) > 45
    ),
    "trace": lambda: plots.trace(
        {NAME: np.array([np.inf, 3.0, np.nan, 2.0]), "b": np.arange(9999.0), "none": np.full(5, np.nan)}
    ),
    "weights": lambda: plots.weights(0.62, RNG.normal(size=300)),
    "khat": lambda: plots.weights(4.5),
    "equal weights": lambda: plots.weights(None, np.zeros(100)),
    "counts": lambda: plots.predictive_check(RNG.poisson(3, (40, 30)), RNG.poisson(3, 30), NAME),
    "binary": lambda: plots.predictive_check(RNG.integers(0, 2, (40, 30)), RNG.integers(0, 2, 30).astype(bool)),
    "real": lambda: plots.predictive_check(RNG.normal(size=(40, 5, 6)), RNG.normal(size=(5, 6))),
    "whole data, real model": lambda: plots.predictive_check(RNG.normal(size=(40, 8)), np.arange(8.0)),
    "cost": lambda: plots.cost([NAME, "b"], [0.0, 12.0], [False, True]),
    "comparison": lambda: plots.comparison([NAME, "b"], [1.0, 2.0], [True, False], [np.nan, 0.1], "error"),
}


@pytest.mark.parametrize("make", FIGURES.values(), ids=FIGURES.keys())
def test_figures_draw_and_escape_names(make):
    before = dict(matplotlib.rcParams)
    figure = make()
    assert isinstance(figure, Figure)
    svg = plots.to_svg(figure, "abc")
    assert svg.startswith("<svg")
    assert "<script>" not in svg
    assert 'id="abc-' in svg
    assert "#0072b2" not in svg
    assert dict(matplotlib.rcParams) == before


def test_a_figure_alone_is_a_whole_svg_file_and_repeats_byte_for_byte():
    one, two = (plots.to_svg(plots.cost(["a"], [1.0], [True])) for _ in range(2))
    assert one == two
    assert one.startswith("<?xml")
    assert plots.to_png(plots.cost(["a"], [1.0], [True]))[:8] == b"\x89PNG\r\n\x1a\n"


def test_there_is_no_figure_where_there_is_nothing_to_show():
    assert plots.trace({"a": np.full(9, np.nan)}) is None
    assert plots.weights(None) is None
    assert plots.weights(float("nan")) is None
