"""Wrong data: one clear error each, before anything is compiled."""

import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import polars as pl
import pytest

from jensen.core import InputError, UnknownName
from jensen.targets._formula import family_names, from_formula

N = 24


def table(**changes):
    rng = np.random.default_rng(0)
    columns = {
        "y": rng.normal(size=N),
        "x": rng.normal(size=N),
        "z": rng.normal(size=N),
        "c": np.array(["a", "b", "d"])[np.arange(N) % 3],
        "g": np.array(["u", "v", "w", "q"])[np.arange(N) % 4],
        "k": rng.integers(0, 4, N),
    }
    return columns | changes


def spoiled(column, value):
    column = np.array(column, dtype=float)
    column[[2, 5]] = value
    return column


BASE = table()


@pytest.mark.parametrize(
    ("formula", "frame", "options", "error", "message"),
    [
        ("y ~ heigth", table(height=BASE["x"]), {}, UnknownName, "Unknown column 'heigth'. Did you mean 'height'"),
        ("y ~ x", BASE, {"family": "gausian"}, UnknownName, "Did you mean 'gaussian'"),
        ("y ~ x", BASE, {"missing": "ignore"}, InputError, "missing must be 'error' or 'drop'"),
        ("y ~ x", table(x=spoiled(BASE["x"], np.nan)), {}, InputError, r"Missing values in 'x' \(2 rows\).*'drop'"),
        ("y ~ x", table(x=spoiled(BASE["x"], -np.inf)), {}, InputError, r"Infinite values in 'x' \(2 rows\)"),
        ("y ~ x", table(x=spoiled(BASE["x"], np.inf)), {"missing": "drop"}, InputError, "Infinite values"),
        ("y ~ x + c", table(x=np.full(N, np.nan)), {"missing": "drop"}, InputError, "No row is complete"),
        ("y ~ y", BASE, {}, InputError, "'y' is both response and predictor"),
        ("y ~ x", {"y": [], "x": []}, {}, InputError, "no rows"),
        ("y ~ x", {"y": [1.0, 2.0], "x": [1.0]}, {}, InputError, "one length, got y 2, x 1"),
        ("y ~ x", {"y": [1.0, 3.0], "x": [1.0, 2.0]}, {}, InputError, "Too few rows: 2 for 2 coefficients"),
        ("y ~ x", {"y": [1.0, 2.0], "x": [[1.0], [2.0]]}, {}, InputError, "one dimension"),
        ("y ~ x", 3, {}, InputError, "must be a polars or pandas DataFrame"),
        ("y ~ x", "no/such/file.csv", {}, InputError, "There is no file"),
        ("y ~ x + z", table(z=np.full(N, 0.1)), {}, InputError, "Constant predictors: 'z'"),
        ("y ~ x + z + w", table(w=2 * BASE["x"] - BASE["z"] + 5), {}, InputError, "Collinear predictors: '[xzw]'"),
        ("y ~ x + poly(x, 2)", BASE, {}, InputError, "Collinear predictors"),
        ("y ~ x + (z|g)", table(z=np.ones(N)), {}, InputError, "Constant predictors: 'z|g'"),
        ("y ~ x + (1|g)", table(g=["u"] * N), {}, InputError, "'g' has one group"),
        ("y ~ log(x)", BASE, {}, InputError, r"log\(x\) is not finite in \d+ rows"),
        ("log(y) ~ x", BASE, {}, InputError, "is not finite in row"),
        ("y ~ 0", BASE, {}, InputError, "no term"),
        ("y ~ x", table(y=np.ones(N)), {}, InputError, "is constant"),
        ("c ~ x", BASE, {}, InputError, "'c' is text"),
        ("c ~ x", BASE, {"family": "bernoulli"}, InputError, r"write c\['d'\]"),
        ("c['zz'] ~ x", BASE, {"family": "bernoulli"}, UnknownName, "level of 'c'"),
        ("c['a'] ~ x", BASE, {}, InputError, "for the family bernoulli"),
        ("k ~ x", BASE, {"family": "bernoulli"}, InputError, "0 and 1, 'k' runs from 0 to 3"),
        ("y ~ x", BASE, {"family": "poisson"}, InputError, "needs counts"),
        ("y ~ x", BASE, {"family": "negative_binomial"}, InputError, "needs counts"),
        ("y ~ x", BASE, {"family": "gamma"}, InputError, "needs a positive response"),
        ("k ~ x", BASE, {"family": "binomial"}, InputError, r"write 'p\(successes, trials\)"),
        ("p(k, 2) ~ x", BASE, {"family": "binomial"}, InputError, "3 successes of 2 trials"),
        ("p(k, z) ~ x", BASE, {"family": "binomial"}, InputError, "'z' must be whole numbers"),
        ("p(k, 9) ~ x", BASE, {"family": "poisson"}, InputError, "of the family binomial"),
        ("c ~ x", BASE, {"family": "ordered"}, InputError, "text without an order"),
        ("y ~ x", BASE, {"family": "ordered"}, InputError, "fractions"),
        ("k ~ 0 + x", BASE, {"family": "ordered"}, InputError, "cutpoints in place of an intercept"),
        ("y ~ sigma", table(sigma=BASE["x"]), {}, InputError, "'sigma' is taken"),
        ("y ~ x", table(x=[object()] * N), {}, InputError, "'x' holds object"),
        ("y ~ x", table(x=pd.date_range("2020", periods=N)), {}, InputError, "'x' has type datetime64"),
        ("y ~ log(c)", BASE, {}, InputError, "cannot be evaluated"),
    ],
)
def test_each_has_one_clear_error(formula, frame, options, error, message, capsys):
    with pytest.raises(error, match=message) as caught:
        from_formula(formula, frame, **options)
    assert isinstance(caught.value, ValueError)
    assert capsys.readouterr().out == ""


def test_two_columns_of_one_name():
    frame = pd.DataFrame(np.ones((4, 3)), columns=["y", "x", "x"])
    with pytest.raises(InputError, match="two columns named 'x'"):
        from_formula("y ~ x", frame)


def test_rows_with_missing_values_are_dropped_and_counted():
    frame = table(x=spoiled(BASE["x"], np.nan), c=[None, *BASE["c"][1:]], z=np.full(N, np.nan))
    with pytest.warns(UserWarning, match=r"3 of 24 rows dropped: missing values in 'x' \(2 rows\), 'c' \(1 rows\)"):
        target = from_formula("y ~ x + c", frame, missing="drop")
    assert target.rows_dropped == 3
    assert target.observed()["y"].shape == (21,)
    kept = np.isin(np.arange(N), [0, 2, 5], invert=True)
    np.testing.assert_allclose(target.observed()["y"], BASE["y"][kept])


@pytest.mark.parametrize("make", [dict, pl.DataFrame, pd.DataFrame, lambda t: pl.from_dict(t).lazy().collect()])
def test_tables_of_every_kind_give_one_design(make):
    t = table(c=[str(c) for c in BASE["c"]], g=[str(g) for g in BASE["g"]])
    reference = from_formula("y ~ x*c + (x|g)", t).fitted_design
    design = from_formula("y ~ x*c + (x|g)", make(t)).fitted_design
    np.testing.assert_array_equal(design.common, reference.common)
    np.testing.assert_array_equal(design.groups[0].index, reference.groups[0].index)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_path_is_read(tmp_path, suffix):
    frame = pl.DataFrame(table(c=[str(c) for c in BASE["c"]], g=[str(g) for g in BASE["g"]]))
    path = tmp_path / f"data.{suffix}"
    getattr(frame, f"write_{suffix}")(path)
    read, given = (from_formula("y ~ x + c", data).fitted_design.common for data in (path, frame))
    np.testing.assert_allclose(read, given)


@pytest.mark.parametrize(
    "make",
    [lambda v, c: pd.Series(pd.Categorical(v, c, ordered=True)), lambda v, c: pl.Series(v, dtype=pl.Enum(c))],
)
def test_ordered_categories_keep_their_order(make):
    levels = ["low", "mid", "high"]
    values = [levels[i % 3] for i in range(N)]
    target = from_formula("grade ~ x", {"grade": make(values, levels), "x": BASE["x"]}, family="ordered")
    np.testing.assert_array_equal(target.observed()["grade"], np.arange(N) % 3)


def test_true_and_false_are_one_and_zero():
    flag = BASE["x"] > 0
    target = from_formula("flag ~ z", table(flag=flag), family="bernoulli")
    np.testing.assert_array_equal(target.observed()["flag"], flag.astype(int))
    yes = from_formula("answer['yes'] ~ z", table(answer=np.where(flag, "yes", "no")), family="bernoulli")
    np.testing.assert_array_equal(yes.observed()["answer"], flag.astype(int))


def test_names_of_families():
    assert set(family_names()) >= {"gaussian", "student", "bernoulli", "binomial", "poisson", "gamma", "ordered"}


def test_levels_that_never_occur_have_no_column():
    frame = table(c=pd.Categorical(BASE["c"], categories=["a", "b", "unused", "d"], ordered=True))
    np.testing.assert_array_equal(
        from_formula("y ~ c", frame).fitted_design.common, from_formula("y ~ c", BASE).fitted_design.common
    )


def test_one_grouping_written_twice_is_one_grouping():
    target = from_formula("y ~ z + (1|g) + (1 + x|g)", BASE)
    assert target.priors.names() == ("z", "Intercept", "1|g_sigma", "x|g_sigma", "sigma")


def test_single_precision():
    with jax.enable_x64(False):
        target = from_formula("p(k, 5) ~ x + (x|g)", BASE, family="binomial")
        floats = {leaf.dtype.name for leaf in jax.tree.leaves(target) if hasattr(leaf, "dtype")}
        assert floats == {"float32", "int32"}
        value = eqx.filter_jit(lambda target, z: target.log_density(z))(target, jnp.zeros(target.space.dimension))
        assert value.dtype == jnp.float32
        assert not value.weak_type
        with pytest.raises(InputError, match="does not fit int32"):
            from_formula("k ~ x", table(k=np.full(N, 3e9) + np.arange(N)), family="poisson")


def test_importing_is_light():
    code = "import sys, jensen.targets._formula; heavy = {'pandas', 'polars', 'formulae', 'scipy.stats', 'numpyro'}; "
    code += "print(sorted(heavy & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"
