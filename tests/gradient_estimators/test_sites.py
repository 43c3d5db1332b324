"""Every estimator of a site against the exact gradient of an expectation: sums, integrals, closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.distributions import constraints
from tests.gradient_estimators.programs import assert_mean_is, family, gradients, integral

from jensen.core import InputError
from jensen.families import program
from jensen.gradient_estimators import PerSite, sites

UNIT, POSITIVE = constraints.unit_interval, constraints.positive
COUNTS = jnp.arange(80)


def param(name, value, constraint=constraints.real):
    return numpyro.param(name, jnp.asarray(value), constraint=constraint)


class HalfNormalByExponential(sites.Sampler):
    """x = s eps, eps ~ Exp(1): q / r = sqrt(2 / pi) exp(eps - eps^2 / 2) <= sqrt(2 e / pi)."""

    def noise(self, key, fn):
        return jax.random.exponential(key, fn.shape())

    def transform(self, fn, eps):
        return fn.scale * eps

    def log_proposal(self, fn, x):
        return -x / fn.scale - jnp.log(fn.scale)

    def log_bound(self, fn):
        return 0.5 * jnp.log(2 * jnp.e / jnp.pi)


def _two_normals():
    weights = param("mw", 0.3, UNIT)
    means = jnp.stack([param("ma", -1.0), param("mb", 1.5)])
    return dist.MixtureSameFamily(
        dist.Categorical(probs=jnp.stack([weights, 1 - weights])), dist.Normal(means, jnp.array([0.5, 0.8]))
    )


# name: (distribution by the parameters of the guide, estimator, cost, exact expectation)
DRAWN = {
    "normal": (
        lambda: dist.Normal(param("nm", 0.3), param("ns", 0.8, POSITIVE)),
        sites.ScoreFunction(),
        lambda x: jnp.sin(x) + 0.3 * x**2,
        lambda d: integral(d, lambda x: jnp.sin(x) + 0.3 * x**2, -9.0, 9.0),
    ),
    "landing": (
        lambda: dist.LogNormal(param("lm", 0.1), param("ls", 0.4, POSITIVE)),
        sites.Implicit(),
        jnp.tanh,
        lambda d: integral(d, jnp.tanh, 1e-9, 30.0),
    ),
    "mixture": (_two_normals, sites.Implicit(), jnp.sin, lambda d: integral(d, jnp.sin, -9.0, 9.0)),
    "gamma": (
        lambda: dist.Gamma(param("ga", 0.7, POSITIVE), param("gb", 1.3, POSITIVE)),
        sites.Rejection(),
        lambda x: x / (1 + x),
        lambda d: integral(
            dist.TransformedDistribution(d, dist.transforms.ExpTransform().inv), lambda u: jax.nn.sigmoid(u), -40.0, 5.0
        ),
    ),
    "large gamma": (
        lambda: dist.Gamma(param("ha", 2.5, POSITIVE), param("hb", 1.3, POSITIVE)),
        sites.Rejection(boost=0),
        jnp.sqrt,
        lambda d: integral(d, jnp.sqrt, 1e-9, 40.0),
    ),
    "inverse gamma": (
        lambda: dist.InverseGamma(param("ia", 3.0, POSITIVE), param("ib", 1.3, POSITIVE)),
        sites.Rejection(),
        jnp.tanh,
        lambda d: integral(d, jnp.tanh, 1e-6, 300.0, 400_001),
    ),
    "beta": (
        lambda: dist.Beta(param("ba", 1.7, POSITIVE), param("bb", 2.2, POSITIVE)),
        sites.Rejection(),
        lambda x: jnp.cos(3 * x),
        lambda d: integral(d, lambda x: jnp.cos(3 * x), 1e-9, 1 - 1e-9, 400_001),
    ),
    "dirichlet": (
        lambda: dist.Dirichlet(param("da", [0.6, 1.2, 2.0], POSITIVE)),
        sites.Rejection(),
        lambda x: 2 * x[0] - x[1] + 3 * x[0] * x[2],
        lambda d: (
            (2 * d.concentration[0] - d.concentration[1]) / jnp.sum(d.concentration)
            + 3 * d.concentration[0] * d.concentration[2] / (jnp.sum(d.concentration) * (jnp.sum(d.concentration) + 1))
        ),
    ),
    "student": (
        lambda: dist.StudentT(param("sd", 4.0, POSITIVE), param("sl", 0.3), param("ss", 0.9, POSITIVE)),
        sites.Rejection(),
        lambda x: jnp.tanh(x) ** 2,
        lambda d: integral(d, lambda x: jnp.tanh(x) ** 2, -400.0, 400.0, 400_001),
    ),
    "half normal": (
        lambda: dist.HalfNormal(param("hs", 0.9, POSITIVE)),
        sites.Rejection(sampler=HalfNormalByExponential()),
        jnp.sqrt,
        lambda d: integral(d, jnp.sqrt, 1e-12, 12.0, 400_001),
    ),
    "count": (
        lambda: dist.Poisson(param("pr", 3.0, POSITIVE)),
        sites.ScoreFunction(),
        lambda x: jnp.sqrt(x + 0.5),
        lambda d: jnp.exp(d.log_prob(COUNTS)) @ jnp.sqrt(COUNTS + 0.5),
    ),
}
BRANCHING = {
    "coins": (
        lambda: dist.Bernoulli(param("pb", [0.3, 0.8], UNIT)).to_event(1),
        sites.MeasureValued(),
        lambda x: x[0] * 1.0 + 2.0 * x[1] - 3.0 * x[0] * x[1],
        lambda d: d.base_dist.probs @ jnp.array([1.0, 2.0]) - 3.0 * jnp.prod(d.base_dist.probs),
    ),
    "coin logits": (
        lambda: dist.Bernoulli(logits=param("pl", [0.3, -0.8])).to_event(1),
        sites.Enumeration(),
        lambda x: x[0] * 1.0 + 2.0 * x[1] - 3.0 * x[0] * x[1],
        lambda d: d.base_dist.probs @ jnp.array([1.0, 2.0]) - 3.0 * jnp.prod(d.base_dist.probs),
    ),
    "category": (
        lambda: dist.Categorical(logits=param("cl", [0.3, -0.8, 0.1])),
        sites.MeasureValued(),
        lambda x: jnp.array([1.0, -2.0, 0.5])[x],
        lambda d: d.probs @ jnp.array([1.0, -2.0, 0.5]),
    ),
    "measured normal": (
        lambda: dist.Normal(param("qm", 0.3), param("qs", 0.8, POSITIVE)),
        sites.MeasureValued(),
        lambda x: jnp.where(x > 0.5, 1.0, 0.0) + x,
        lambda d: 1 - d.cdf(0.5) + d.loc,
    ),
    "measured count": (
        lambda: dist.Poisson(param("pm", 3.0, POSITIVE)),
        sites.MeasureValued(),
        lambda x: jnp.sqrt(x + 0.5),
        lambda d: jnp.exp(d.log_prob(COUNTS)) @ jnp.sqrt(COUNTS + 0.5),
    ),
    "measured gamma": (
        lambda: dist.Gamma(param("ga", 1.7, POSITIVE), param("gb", 1.3, POSITIVE)),
        sites.MeasureValued(),
        lambda x: x / (1 + x),
        lambda d: integral(d, lambda x: x / (1 + x), 1e-9, 60.0, 400_001),
    ),
}


def independent(cases):
    """(guide with an independent site a case, cost: the sum of theirs, exact gradient)."""

    def guide():
        for name, (make, estimator, _, _) in cases.items():
            numpyro.sample(name, make(), infer={"estimator": estimator})

    q = family(guide)

    def cost(q, z):
        x = q.space.constrain(z)
        return sum(case[2](x[name]) for name, case in cases.items())

    def truth(parameters):
        found = {}
        q_at = type(q)(parameters, q.guide, q.space)
        q_at.visit(lambda name, fn, infer: found.setdefault(name, fn).sample(jax.random.key(0)))
        return sum(case[3](found[name]) for name, case in cases.items())

    return q, cost, jax.jit(jax.grad(truth))(q.parameters)


def unbiased(cases, n, sees, num_draws=4):
    q, cost, truth = independent(cases)
    estimator = PerSite(num_draws)
    draws = gradients(q, lambda q, key: estimator.expectation(key, q, cost), jax.random.key(len(cases)), 3 * n)
    for third in range(3):
        assert_mean_is({name: g[third * n : (third + 1) * n] for name, g in draws.items()}, truth, sees)


def test_estimators_by_one_draw_are_unbiased():
    unbiased(DRAWN, 4000, 0.4)


@pytest.mark.parametrize(
    "names", [("coins", "category"), ("measured normal", "coin logits"), ("measured count", "measured gamma")]
)
def test_estimators_that_branch_are_unbiased(names):
    unbiased({name: BRANCHING[name] for name in names}, 3000, 0.4)


def test_without_its_correction_a_rejection_site_would_be_seen_to_be_biased():
    """Marsaglia and Tsang without boost at shape 1.2, f = 3.2 log x - 1.5 x: the correction is a tenth of the whole."""
    a = jnp.asarray(1.2)

    def parts(a, key):
        x, weight = sites.standard_gamma(key, a, 0)
        return 3.2 * jnp.log(x) - 1.5 * x, weight

    def path_and_correction(key):
        (value, _), (slope, weight_slope) = jax.jvp(lambda a: parts(a, key), (a,), (jnp.ones(()),))
        return slope, value * weight_slope

    path, correction = (
        np.asarray(x) for x in jax.jit(jax.vmap(path_and_correction))(jax.random.split(jax.random.key(0), 100_000))
    )
    truth = 3.2 * jax.scipy.special.polygamma(1, a) - 1.5
    error = path.std() / np.sqrt(len(path))
    assert abs(path.mean() - truth) > 10 * error
    assert abs((path + correction).mean() - truth) < 5 * (path + correction).std() / np.sqrt(len(path))


def test_a_learned_baseline_comes_to_the_mean_cost_and_lowers_the_variance():
    def guide():
        baseline = sites.learned_baseline("b", 30.0)
        estimator = sites.ScoreFunction(baseline=baseline)
        numpyro.sample("x", dist.Poisson(param("r", 3.0, POSITIVE)), infer={"estimator": estimator})

    q = family(guide)
    cost = lambda q, z: 10.0 * z[0]  # noqa: E731
    at = lambda b: {**q.parameters, "b": jnp.arcsinh(jnp.asarray(b))}  # noqa: E731
    spread = {}
    for b in (0.0, 30.0):
        moved = type(q)(at(b), q.guide, q.space)
        loss = lambda q, key: PerSite(1).expectation(key, q, cost)  # noqa: E731
        draws = gradients(moved, loss, jax.random.key(1), 20_000)
        spread[b] = draws["r"].var()
        slope = np.sqrt(1 + b**2) * (b - 30.0)
        error = draws["b"].std() / np.sqrt(20_000)
        assert abs(draws["b"].mean() - slope) < 5 * error + 1e-9
        assert abs(draws["r"].mean() - 30.0) < 5 * np.sqrt(spread[b] / 20_000)  # d/d(log rate) of 10 rate
    assert spread[30.0] < 0.5 * spread[0.0]


BAD = {
    "discrete reparameterised": (
        sites.Reparameterised(),
        lambda: dist.Poisson(3.0),
        "Reparameterised takes continuous",
    ),
    "landing of a coin": (sites.StickingTheLanding(), lambda: dist.Bernoulli(0.3), "site 'x' is a BernoulliProbs"),
    "mixture reparameterised": (sites.Reparameterised(), _two_normals, "site 'x' is a MixtureSameFamily"),
    "enumerated normal": (sites.Enumeration(), lambda: dist.Normal(0.0, 1.0), "takes distributions of finite support"),
    "enumerated count": (sites.Enumeration(), lambda: dist.Poisson(3.0), "site 'x' is a Poisson"),
    "too many coins": (
        sites.Enumeration(),
        lambda: dist.Bernoulli(0.3 * jnp.ones(30)).to_event(1),
        "takes 1.1e.09 values, more than 4096: use ScoreFunction",
    ),
    "measured beta": (sites.MeasureValued(), lambda: dist.Beta(1.0, 2.0), "site 'x' is a Beta"),
    "rejected normal": (sites.Rejection(), lambda: dist.Normal(0.0, 1.0), "Gamma, Chi2, .* or any with a sampler"),
    "implicit coin": (sites.Implicit(), lambda: dist.Bernoulli(0.3), "takes continuous distributions"),
    "implicit without cdf": (sites.Implicit(), lambda: dist.VonMises(0.0, 1.0), "takes distributions with a cdf"),
    "relaxed category": (sites.GumbelSoftmax(), lambda: dist.Categorical(jnp.ones(3) / 3), "takes Bernoulli"),
    "no site estimator": (PerSite(), lambda: dist.Normal(0.0, 1.0), "none of jensen.gradient_estimators.sites"),
}


@pytest.mark.parametrize("name", BAD)
def test_an_estimator_that_a_site_cannot_have_is_refused_at_the_door(name):
    estimator, make, words = BAD[name]

    def guide():
        param("unused", 0.0)
        numpyro.sample("x", make(), infer={"estimator": estimator})

    with pytest.raises(InputError, match=words):
        program(guide)


def test_bad_settings_are_refused():
    with pytest.raises(InputError, match="num_draws must be at least 1"):
        PerSite(0)
    with pytest.raises(InputError, match="boost must be at least 0"):
        sites.Rejection(boost=-1)
