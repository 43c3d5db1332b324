"""The log density against one written independently with scipy, family by family, and the least-squares limit."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jensen.targets._formula import from_formula

N = 40


def table(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(3.0, 2.0, N)
    return {
        "x": x,
        "c": rng.choice(["a", "b", "d"], N),
        "g": rng.choice(["u", "v", "w", "z"], N),
        "measure": 10.0 + 2.0 * x + rng.normal(size=N),
        "positive": np.exp(0.1 * x + 0.3 * rng.normal(size=N)),
        "count": rng.poisson(3.0, N),
        "success": rng.integers(0, 2, N),
        "k": rng.integers(0, 4, N),
        "n": rng.integers(4, 9, N),
        "grade": rng.integers(1, 5, N),
    }


@eqx.filter_jit
def density_and_values(target, z):
    return target.log_density(z), target.space.constrain(z)


def columns(t: dict[str, np.ndarray]) -> np.ndarray:
    """Columns of `x + c` by hand: x and the dummies of b and d."""
    return np.stack([t["x"], t["c"] == "b", t["c"] == "d"], axis=1).astype(float)


def likelihood(family: str, t: dict[str, np.ndarray], eta: np.ndarray, v: dict[str, np.ndarray]) -> float:
    mu, chance = np.exp(eta), 1.0 / (1.0 + np.exp(-eta))
    if family == "gaussian":
        return stats.norm.logpdf(t["measure"], eta, v["sigma"]).sum()
    if family == "student":
        return stats.t.logpdf(t["measure"], v["nu"], eta, v["sigma"]).sum()
    if family == "bernoulli":
        return stats.bernoulli.logpmf(t["success"], chance).sum()
    if family == "binomial":
        return stats.binom.logpmf(t["k"], t["n"], chance).sum()
    if family == "poisson":
        return stats.poisson.logpmf(t["count"], mu).sum()
    if family == "negative_binomial":
        return stats.nbinom.logpmf(t["count"], v["alpha"], v["alpha"] / (v["alpha"] + mu)).sum()
    if family == "gamma":
        return stats.gamma.logpdf(t["positive"], v["alpha"], scale=mu / v["alpha"]).sum()
    below = 1.0 / (1.0 + np.exp(-(v["cutpoints"] - eta[:, None])))
    steps = np.diff(np.concatenate([np.zeros((N, 1)), below, np.ones((N, 1))], axis=1), axis=1)
    return np.log(steps[np.arange(N), t["grade"] - 1]).sum()


def auxiliary_prior(family: str, t: dict[str, np.ndarray], v: dict[str, np.ndarray]) -> float:
    """Densities of auxiliary parameters, with the Jacobians of their bijections (log x for exp)."""
    value = 0.0
    if family in ("gaussian", "student"):
        value += np.log(2.0) + stats.t.logpdf(v["sigma"], 4.0, 0.0, t["measure"].std()) + np.log(v["sigma"])
    if family == "student":
        value += stats.gamma.logpdf(v["nu"], 2.0, scale=10.0) + np.log(v["nu"])
    if family == "negative_binomial":
        value += stats.invgamma.logpdf(v["alpha"], 0.4, scale=0.3) + np.log(v["alpha"])
    if family == "gamma":
        shape = t["positive"].mean() ** 2 / t["positive"].var()
        value += np.log(2.0) + stats.t.logpdf(v["alpha"], 4.0, 0.0, 2.5 * shape) + np.log(v["alpha"])
    return value


RESPONSES = {
    "gaussian": "measure",
    "student": "measure",
    "bernoulli": "success",
    "binomial": "p(k, n)",
    "poisson": "count",
    "negative_binomial": "count",
    "gamma": "positive",
    "ordered": "grade",
}
CENTRES = {
    "gaussian": "measure",
    "student": "measure",
    "poisson": "count",
    "negative_binomial": "count",
    "gamma": "positive",
}


@pytest.mark.parametrize("family", RESPONSES)
@pytest.mark.parametrize("seed", [0, 1])
def test_log_density_is_the_sum_written_by_hand(family, seed):
    t = table(seed)
    target = from_formula(f"{RESPONSES[family]} ~ x + c", t, family=family)
    identity = family in ("gaussian", "student")
    scale = t["measure"].std() if identity else 1.0
    matrix = columns(t)
    sds = matrix.std(axis=0)
    location = t[CENTRES[family]].mean() if family in CENTRES else 0.0
    location = location if identity or family not in CENTRES else np.log(location)
    for z in np.random.default_rng(seed).normal(0.0, 0.5, (3, target.space.dimension)):
        value, v = density_and_values(target, jnp.asarray(z))
        v = {name: np.asarray(x) for name, x in v.items()}
        beta = np.concatenate([[v["x"]], v["c"]])
        expected = stats.norm.logpdf(beta, 0.0, 2.5 * scale / sds).sum()
        if family == "ordered":
            # uniform on the simplex, and the Jacobian of stick breaking by differences
            expected += np.log(6.0) + simplex_jacobian(target, z)
            eta = matrix @ beta
        else:
            at_mean = v["Intercept"] + matrix.mean(axis=0) @ beta
            expected += stats.norm.logpdf(at_mean, location, 2.5 * scale)
            eta = v["Intercept"] + matrix @ beta
        expected += auxiliary_prior(family, t, v) + likelihood(family, t, eta, v)
        assert abs(float(value) - expected) < 1e-8 * max(1.0, abs(expected))


def simplex_jacobian(target, z):
    at = target.space.coordinate_names().index("cutpoints_simplex[0]")

    @jax.jit
    def log_determinant(z):
        def first_parts(u):
            return target.space.constrain(z.at[at : at + 3].set(u))["cutpoints_simplex"][:3]

        return jnp.linalg.slogdet(jax.jacfwd(first_parts)(z[at : at + 3]))[1]

    return float(log_determinant(jnp.asarray(z)))


def test_cutpoints_are_ordered_and_give_the_level_probabilities_at_the_mean():
    t = table()
    target = from_formula("grade ~ x", t, family="ordered")
    z = jnp.asarray(np.random.default_rng(3).normal(size=target.space.dimension))
    _, v = density_and_values(target, z)
    assert np.all(np.diff(v["cutpoints"]) > 0)
    below = 1.0 / (1.0 + np.exp(-(np.asarray(v["cutpoints"]) - t["x"].mean() * float(v["x"]))))
    np.testing.assert_allclose(below, np.cumsum(v["cutpoints_simplex"])[:-1], rtol=1e-10)


@pytest.mark.parametrize("intercept", ["", "0 + "])
def test_with_wide_priors_the_mode_is_least_squares(intercept):
    t = table()
    wide = {name: ("normal", 0.0, 1e7) for name in ("x", "c") + (("Intercept",) if not intercept else ())}
    target = from_formula(f"measure ~ {intercept}x + c", t, priors=wide)
    sigma = target.space.coordinate_names().index("sigma")
    free = np.array([i for i in range(target.space.dimension) if i != sigma])
    zero = jnp.zeros(target.space.dimension)

    # The log density is quadratic in the coefficients at a fixed sigma, so that one Newton step finds its mode.
    @jax.jit
    def newton_step(u):
        def of_coefficients(u):
            return target.log_density(zero.at[free].set(u))

        return u - jnp.linalg.solve(jax.hessian(of_coefficients)(u), jax.grad(of_coefficients)(u))

    _, v = density_and_values(target, zero.at[free].set(newton_step(jnp.zeros(len(free)))))
    levels = ["b", "d"] if not intercept else ["a", "b", "d"]
    matrix = np.stack([t["x"], *(t["c"] == level for level in levels)], axis=1).astype(float)
    full = np.concatenate([np.ones((N, 1)), matrix], axis=1) if not intercept else matrix
    truth = np.linalg.lstsq(full, t["measure"], rcond=None)[0]
    found = np.concatenate([[v["Intercept"]] if not intercept else [], [v["x"]], v["c"]])
    np.testing.assert_allclose(found, truth, rtol=1e-8)


def test_offset_enters_with_coefficient_one():
    t = table() | {"exposure": np.linspace(0.5, 3.0, N)}
    plain = from_formula("count ~ x", t, family="poisson")
    shifted = from_formula("count ~ x + offset(log(exposure))", t, family="poisson")
    z = jnp.asarray([0.1, -0.2])
    before, v = density_and_values(plain, z)
    after, _ = density_and_values(shifted, z)
    eta = float(v["Intercept"]) + t["x"] * float(v["x"])
    difference = stats.poisson.logpmf(t["count"], np.exp(eta) * t["exposure"]).sum()
    difference -= stats.poisson.logpmf(t["count"], np.exp(eta)).sum()
    assert float(after - before) == pytest.approx(difference, rel=1e-10)
