"""Designs of new rows, and replicates of the response."""

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest

from jensen.core import InputError, UnknownName
from jensen.targets._formula import from_formula

N = 60


def table():
    rng = np.random.default_rng(0)
    x = np.linspace(1.0, 4.0, N)
    return {
        "y": 2.0 + x + rng.normal(size=N),
        "x": x,
        "c": np.array(["a", "b", "d"])[np.arange(N) % 3],
        "g": np.array(["u", "v"])[np.arange(N) // 30],
        "h": np.array(["p", "q"])[np.arange(N) // 30],
        "k": rng.integers(0, 5, N),
        "n": np.full(N, 6),
    }


@pytest.mark.parametrize("formula", ["y ~ poly(x, 2) + c + (1 + bs(x, df=4) | g)", "y ~ x*c + offset(log(x))"])
def test_design_of_the_fitted_rows_is_the_design(formula):
    t = table()
    target = from_formula(formula, t)
    some = slice(7, 33)
    new = target.design({name: column[some] for name, column in t.items() if name != "y"})
    used = target.fitted_design
    np.testing.assert_allclose(new.common, used.common[some], atol=1e-10)
    for group, old in zip(new.groups, used.groups, strict=True):
        np.testing.assert_array_equal(group.index, old.index[some])
        np.testing.assert_allclose(group.columns, old.columns[some], atol=1e-10)
    if used.offset is not None:
        np.testing.assert_allclose(new.offset, used.offset[some], atol=1e-12)
    assert new.response is None


def test_replicates_have_the_mean_of_the_model():
    t = table()
    target = from_formula("y ~ x + c", t)
    z = jnp.asarray(np.random.default_rng(1).normal(size=target.space.dimension))
    v = target.space.constrain(z)
    new = pl.DataFrame({"x": [0.0, 1.0, 5.0], "c": ["d", "a", "b"]})
    draw = jax.jit(jax.vmap(lambda key: target.predict(key, z, target.design(new))["y"]))
    draws = np.asarray(draw(jax.random.split(jax.random.key(0), 4000)))
    level = np.array([v["c"][1], 0.0, v["c"][0]])
    mean = float(v["Intercept"]) + np.array([0.0, 1.0, 5.0]) * float(v["x"]) + level
    error = float(v["sigma"]) / np.sqrt(4000)
    assert np.all(np.abs(draws.mean(axis=0) - mean) < 5 * error)


def test_binomial_replicates_need_trials_only():
    t = table()
    target = from_formula("p(k, n) ~ x", t, family="binomial")
    design = target.design({"x": [1.0, 2.0], "n": [0, 1000]})
    draw = target.predict(jax.random.key(0), jnp.zeros(target.space.dimension), design)["k"]
    assert draw[0] == 0
    assert 300 < draw[1] < 700
    with pytest.raises(UnknownName, match="column 'n'"):
        target.design({"x": [1.0]})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"c": ["a", "zebra"]}, "New levels of 'c': 'zebra'"),
        ({"g": ["u", "mars"]}, "New levels of 'g': 'mars'"),
        ({"h": ["q", "p"]}, "New group 'u:q' of 'g:h'"),
        ({"x": [1.0, np.nan]}, r"Missing values in 'x' \(1 rows\)"),
        ({"x": [1.0, np.inf]}, r"Infinite values in 'x' \(1 rows\)"),
    ],
)
def test_new_rows_that_the_model_does_not_know(change, message):
    t = table()
    target = from_formula("y ~ x + c + (1|g/h)", t)
    rows = {"x": [1.0, 2.0], "c": ["a", "b"], "g": ["u", "u"], "h": ["p", "p"]}
    target.design(rows)
    with pytest.raises(InputError, match=message):
        target.design(rows | change)


def test_new_rows_without_a_column():
    with pytest.raises(UnknownName, match="column 'c'"):
        from_formula("y ~ x + c", table()).design({"x": [1.0]})
