"""Group effects against matrices built by hand."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jensen.targets._formula import from_formula

N = 30


@eqx.filter_jit
def density_and_values(target, z):
    return target.log_density(z), target.space.constrain(z)


def table(seed=0):
    rng = np.random.default_rng(seed)
    return {
        "y": rng.normal(5.0, 3.0, N),
        "x": rng.normal(2.0, 1.5, N),
        "c": np.array(["a", "b", "d"])[np.arange(N) % 3],
        "g": np.array(["u", "v", "w", "z"])[rng.permutation(np.arange(N) % 4)],
        "h": np.array(["p", "q"])[rng.permutation(np.arange(N) % 2)],
    }


def expected_likelihood(t, v, group_part):
    eta = np.asarray(v["Intercept"]) + group_part
    return stats.norm.logpdf(t["y"], eta, float(v["sigma"])).sum()


def log_likelihood(target, z):
    return float(eqx.filter_jit(lambda target, z: target.inner.site_terms(z)["y"])(target, z))


def values(target, seed):
    z = jnp.asarray(np.random.default_rng(seed).normal(0.0, 0.7, target.space.dimension))
    _, v = density_and_values(target, z)
    return z, {name: np.asarray(x) for name, x in v.items()}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_varying_intercepts_and_slopes(seed):
    t = table(seed)
    target = from_formula("y ~ 1 + (1 + x | g)", t)
    z, v = values(target, seed)
    indicator = (t["g"][:, None] == np.unique(t["g"])[None, :]).astype(float)
    part = indicator @ v["1|g"] + (indicator * t["x"][:, None]) @ v["x|g"]
    assert log_likelihood(target, z) == pytest.approx(expected_likelihood(t, v, part), rel=1e-10)
    # non-centred, and independent at the mean of x
    np.testing.assert_allclose(v["x|g"], v["x|g_sigma"] * v["x|g_offset"], rtol=1e-12)
    at_mean = v["1|g"] + t["x"].mean() * v["x|g"]
    np.testing.assert_allclose(at_mean, v["1|g_sigma"] * v["1|g_offset"], rtol=1e-10)


def test_whole_density_of_varying_intercepts():
    t = table()
    target = from_formula("y ~ 1 + (1 | g)", t)
    z = jnp.asarray(np.random.default_rng(4).normal(0.0, 0.7, target.space.dimension))
    value, v = density_and_values(target, z)
    v = {name: np.asarray(x) for name, x in v.items()}
    sd = t["y"].std()
    part = v["1|g"][np.unique(t["g"], return_inverse=True)[1]]
    expected = expected_likelihood(t, v, part)
    expected += stats.norm.logpdf(v["Intercept"], t["y"].mean(), 2.5 * sd)
    expected += stats.halfnorm.logpdf(v["1|g_sigma"], scale=2.5 * sd) + np.log(v["1|g_sigma"])
    expected += stats.norm.logpdf(v["1|g_offset"]).sum()
    expected += np.log(2.0) + stats.t.logpdf(v["sigma"], 4.0, 0.0, sd) + np.log(v["sigma"])
    assert float(value) == pytest.approx(expected, rel=1e-10)


def test_slopes_without_varying_intercept_are_not_centred():
    t = table()
    target = from_formula("y ~ 1 + (0 + x | g)", t)
    z, v = values(target, 1)
    assert "1|g" not in v
    part = v["x|g"][np.unique(t["g"], return_inverse=True)[1]] * t["x"]
    assert log_likelihood(target, z) == pytest.approx(expected_likelihood(t, v, part), rel=1e-10)


def test_categorical_effects_have_an_sd_a_column():
    t = table()
    target = from_formula("y ~ 1 + (c | g)", t)
    z, v = values(target, 2)
    assert v["c|g"].shape == (4, 2)
    assert v["c|g_sigma"].shape == (2,)
    index = np.unique(t["g"], return_inverse=True)[1]
    dummies = np.stack([t["c"] == "b", t["c"] == "d"], axis=1)
    part = v["1|g"][index] + (dummies * v["c|g"][index]).sum(axis=1)
    assert log_likelihood(target, z) == pytest.approx(expected_likelihood(t, v, part), rel=1e-10)
    assert target.labels["c|g"] == (("u", "v", "w", "z"), ("c[b]", "c[d]"))


@pytest.mark.parametrize(
    ("formula", "sites"),
    [
        ("y ~ 1 + (1|g) + (1|h)", {"1|g": (4,), "1|h": (2,)}),
        ("y ~ 1 + (1|g + h)", {"1|g": (4,), "1|h": (2,)}),
        ("y ~ 1 + (1|g/h)", {"1|g": (4,), "1|g:h": (8,)}),
    ],
)
def test_crossed_and_nested_groups(formula, sites):
    t = table()
    target = from_formula(formula, t)
    z, v = values(target, 3)
    part = np.zeros(N)
    for name, shape in sites.items():
        factor = name.split("|")[1]
        keys = t[factor] if ":" not in factor else np.char.add(np.char.add(t["g"], ":"), t["h"])
        levels, index = np.unique(keys, return_inverse=True)
        assert v[name].shape == shape == levels.shape
        assert target.labels[name] == (tuple(levels),)
        part = part + v[name][index]
    assert log_likelihood(target, z) == pytest.approx(expected_likelihood(t, v, part), rel=1e-10)


def test_only_combinations_that_occur_are_groups():
    t = table()
    t["h"] = np.where(np.isin(t["g"], ["u", "v"]), "p", "q")
    target = from_formula("y ~ 1 + (1|g:h)", t)
    assert target.labels["1|g:h"] == (("u:p", "v:p", "w:q", "z:q"),)


def test_numbers_as_groups_are_levels():
    t = table()
    t["g"] = np.array([3, 10, 7, 21])[np.arange(N) % 4]
    assert from_formula("y ~ x + (1|g)", t).labels["1|g"] == (("3", "7", "10", "21"),)


def test_other_data_of_the_same_shape_compile_nothing():
    traces = []

    @eqx.filter_jit
    def density(target, z):
        traces.append(1)
        return target.log_density(z)

    t = table(0)
    formula = "y ~ x + (1 + x | g)"
    first = from_formula(formula, t)
    z = jnp.zeros(first.space.dimension)
    density(first, z)
    renamed = table(1)
    renamed["g"] = np.char.add("new_", renamed["g"])
    density(from_formula(formula, renamed, priors={"x": ("normal", 1.0, 0.5)}), z)
    assert len(traces) == 1
