"""Default priors, their table, and priors given as data."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jensen.core import InputError, UnknownName
from jensen.targets._formula import from_formula
from jensen.targets._formula._priors import KINDS, make_prior

SCIPY = {
    "normal": lambda p: stats.norm(p[0], p[1]),
    "student_t": lambda p: stats.t(p[0], p[1], p[2]),
    "cauchy": lambda p: stats.cauchy(p[0], p[1]),
    "laplace": lambda p: stats.laplace(p[0], p[1]),
    "half_normal": lambda p: stats.halfnorm(scale=p[0]),
    "half_cauchy": lambda p: stats.halfcauchy(scale=p[0]),
    "exponential": lambda p: stats.expon(scale=1 / p[0]),
    "gamma": lambda p: stats.gamma(p[0], scale=1 / p[1]),
    "inverse_gamma": lambda p: stats.invgamma(p[0], scale=p[1]),
    "log_normal": lambda p: stats.lognorm(p[1], scale=np.exp(p[0])),
}


def table():
    rng = np.random.default_rng(0)
    return {
        "y": rng.normal(4.0, 2.0, 40),
        "x": rng.normal(1.0, 3.0, 40),
        "c": np.array(["a", "b", "d", "e"])[np.arange(40) % 4],
        "g": np.array(["u", "v", "w", "z", "q"])[np.arange(40) % 5],
    }


@pytest.mark.parametrize("kind", [k for k in KINDS if k in SCIPY])
def test_densities_are_those_of_scipy(kind):
    parameters = [1.3, 0.7, 1.9][: len(KINDS[kind].parameters)]
    points = np.array([0.2, 1.1, 3.7])
    found = make_prior(kind, *parameters).distribution(()).log_prob(jnp.asarray(points))
    np.testing.assert_allclose(found, SCIPY[kind](parameters).logpdf(points), rtol=1e-10)


def test_half_student_t_is_twice_the_density():
    found = make_prior("half_student_t", 4.0, 1.7).distribution(()).log_prob(jnp.asarray([0.1, 2.5]))
    np.testing.assert_allclose(found, np.log(2.0) + stats.t(4.0, 0.0, 1.7).logpdf([0.1, 2.5]), rtol=1e-10)


def test_defaults_are_scaled_to_the_data_and_printed():
    t = table()
    target = from_formula("y ~ x + (1 + x | g)", t)
    assert target.priors.names() == ("x", "Intercept", "1|g_sigma", "x|g_sigma", "sigma")
    scale = 2.5 * t["y"].std() / t["x"].std()
    np.testing.assert_allclose(target.priors["x"].parameters, [0.0, scale], rtol=1e-12)
    np.testing.assert_allclose(target.priors["x|g_sigma"].parameters, [scale], rtol=1e-12)
    np.testing.assert_allclose(target.priors["Intercept"].parameters, [t["y"].mean(), 2.5 * t["y"].std()], rtol=1e-12)
    lines = str(target.priors).splitlines()
    assert len(lines) == 6
    assert lines[1].startswith("x ")
    assert "2.5 sd(response)" in lines[1]


@pytest.mark.parametrize("unit", [1e-6, 1e6])
def test_a_change_of_units_moves_the_density_by_a_constant(unit):
    t = table()
    plain, scaled = from_formula("y ~ x + (1|g)", t), from_formula("y ~ x + (1|g)", t | {"x": unit * t["x"]})
    z = jnp.asarray(np.random.default_rng(1).normal(size=plain.space.dimension))
    at = plain.space.coordinate_names().index("x")
    others = [plain.log_density(u) - scaled.log_density(u.at[at].divide(unit)) for u in (z, 0.3 * z)]
    assert float(others[0]) == pytest.approx(float(others[1]), abs=1e-8)
    assert float(others[0]) == pytest.approx(-np.log(unit), abs=1e-8)


def test_given_priors_replace_defaults_by_site_and_by_other_name():
    given = {"x": ("student_t", 4, 0, 1), "sd(g|Intercept)": ("exponential", 1.0), "c": ("normal", [0, 1, 2], 1)}
    target = from_formula("y ~ x + c + (1|g)", table(), priors=given)
    assert str(target.priors["x"]) == "student_t(4, 0, 1)"
    assert str(target.priors["1|g_sigma"]) == "exponential(1)"
    assert str(target.priors["c"]) == "normal(0..2, 1)"
    assert "given" in str(target.priors).splitlines()[1]


@pytest.mark.parametrize(
    ("priors", "error", "message"),
    [
        ({"z": ("normal", 0, 1)}, UnknownName, "Unknown prior 'z'"),
        ({"x": ("norml", 0, 1)}, UnknownName, "Did you mean 'normal'"),
        ({"x": ("normal", 0)}, InputError, r"takes \(loc, scale\), got 1 numbers"),
        ({"x": ("normal", 0, -1)}, InputError, "scale of the prior of 'x' must be positive and finite"),
        ({"x": ("normal", np.nan, 1)}, InputError, "loc of the prior of 'x' must be finite"),
        ({"x": ("normal", "0", [1, 2])}, InputError, r"must have shape \(\) or \(\)"),
        ({"x": "normal(0, 1)"}, InputError, "must read"),
        ({"x": ("normal", "__import__('os')", 1)}, InputError, "must be a number"),
        ({"sigma": ("normal", 0, 1)}, InputError, "'sigma' is positive"),
        ({"1|g_sigma": ("exponential", 1), "sd(g|Intercept)": ("exponential", 2)}, InputError, "given twice"),
    ],
)
def test_wrong_priors(priors, error, message):
    with pytest.raises(error, match=message):
        from_formula("y ~ x + (1|g)", table(), priors=priors)
