"""Relaxed coins and categories: the bias in closed form to first order in the temperature, and exact vertices."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from tests.gradient_estimators.programs import assert_mean_is, gradients

import jensen as jn
from jensen.core import InputError
from jensen.gradient_estimators import PerSite, sites
from jensen.objectives import NegativeElbo
from jensen.targets import OneHotCategorical, Relaxed

LOGITS, COST = jnp.array([0.4, -0.6, 0.1]), jnp.array([3.0, -1.0, 2.0])
PRIOR, MEANS, Y = np.array([0.2, 0.5, 0.3]), np.array([0.0, 2.0, -1.0]), 0.7


def slopes(estimator, cost, make, n=200_000, seed=0):
    """(mean, standard error) of the gradient of cost(x) in the logits, over n draws."""

    @jax.jit
    def run(estimator, key):
        one = jax.grad(lambda logits, key: cost(estimator.draw(key, make(logits)).value))
        draws = jax.vmap(lambda key: one(LOGITS, key))(jax.random.split(key, n))
        return draws.mean(0), draws.std(0) / np.sqrt(n)

    return [np.asarray(a) for a in run(estimator, jax.random.key(seed))]


def one_hot(logits):
    return OneHotCategorical(logits=logits)


def coins(logits):
    return dist.Bernoulli(logits=logits).to_event(1)


LAWS = {  # of sum_k a_k x_k^2 the expectation, and minus its error a unit of tau
    "one-hot": (one_hot, jax.nn.softmax),
    "coins": (coins, jax.nn.sigmoid),
}


@pytest.mark.parametrize("name", LAWS)
def test_the_bias_is_of_first_order_in_the_temperature_and_vanishes_with_it(name):
    """E sum a x^2 = sum a p - tau sum a p (1 - p) + O(tau^2), as int (sigmoid(v)^2 - 1[v > 0]) dv = -1."""
    make, mass = LAWS[name]
    truth = jax.grad(lambda b: COST @ mass(b))(LOGITS)
    first = jax.grad(lambda b: -COST @ (mass(b) * (1 - mass(b))))(LOGITS)
    seen = {}
    for tau in (0.3, 0.03):
        mean, error = slopes(sites.GumbelSoftmax(tau), lambda x: COST @ x**2, make)
        # second order: int |v| |sigmoid^2 - 1[v > 0]| dv < 2, times a, times slopes of the density of the gap below 1/4
        assert np.all(np.abs(mean - truth - tau * first) < 5 * error + 0.5 * tau**2 * np.abs(COST).max())
        seen[tau] = np.max(np.abs(mean - truth) / error)
    assert seen[0.3] > 10
    assert seen[0.03] < 5


@pytest.mark.parametrize("name", LAWS)
def test_straight_through_draws_are_exact_and_their_slope_is_the_mean_of_those_at_both_ends(name):
    """Across an edge the slope tends to that of the trapezoidal rule: right for x^2, half as much again for x^3."""
    make, mass = LAWS[name]
    hard, soft = sites.GumbelSoftmax(0.5, hard=True), sites.GumbelSoftmax(0.5)
    keys = jax.random.split(jax.random.key(0), 20_000)
    x = np.asarray(jax.jit(jax.vmap(lambda k: hard.draw(k, make(LOGITS)).value))(keys))
    assert np.all((x == 0) | (x == 1))
    p = np.asarray(mass(LOGITS))
    assert np.all(np.abs(x.mean(0) - p) < 5 * np.sqrt(p * (1 - p) / 20_000))
    linear = [slopes(e, lambda x: COST @ x, make, n=2000) for e in (hard, soft)]
    np.testing.assert_allclose(linear[0][0], linear[1][0], rtol=1e-12)
    truth, tau = jax.grad(lambda b: COST @ mass(b))(LOGITS), 0.02
    for power, factor in ((2, 1.0), (3, 1.5)):
        mean, error = slopes(sites.GumbelSoftmax(tau, hard=True), lambda x, n=power: COST @ x**n, make)
        # what is left: tau log(2) times the slope of the density of the gap, below 0.1, times that of the cost
        assert np.all(np.abs(mean - factor * truth) < 5 * error + 0.07 * tau * power * np.abs(COST).max())
        assert np.all(5 * error < 0.3 * np.abs(truth).max())


def model(y):
    kind = numpyro.sample("kind", OneHotCategorical(PRIOR))
    numpyro.sample("y", dist.Normal(kind @ MEANS, 1.0), obs=y)


def guide(estimator):
    fn = OneHotCategorical(logits=numpyro.param("logits", LOGITS))
    numpyro.sample("kind", fn, infer={"estimator": estimator})


TARGET = jn.targets.from_numpyro(model, Y)
RELAXED = Relaxed(TARGET)


def exact(logits):
    """-ELBO, summed over the three values."""
    log_p = np.log(PRIOR) - 0.5 * (Y - MEANS) ** 2 - 0.5 * np.log(2 * np.pi)
    log_q = jax.nn.log_softmax(logits)
    return jnp.exp(log_q) @ (log_q - log_p)


def measured(estimator, target, n):
    builder = jn.families.program(guide, estimator)
    builder.check(target)
    q = builder.family(jax.random.key(0), target)
    loss = lambda q, key: NegativeElbo(PerSite(2)).loss(key, q, target)  # noqa: E731
    value = jax.jit(lambda q, key: NegativeElbo(PerSite(20_000)).loss(key, q, target))(q, jax.random.key(1))
    return value, gradients(q, loss, jax.random.key(0), n)


def test_a_relaxed_guide_tends_to_the_enumerated_gradient_and_its_straight_values_are_those_of_the_objective():
    truth = {"logits": jax.grad(exact)(LOGITS)}
    bias = {}
    for tau in (2.0, 0.1):
        _, found = measured(sites.GumbelSoftmax(tau), RELAXED, 20_000)
        g = found["logits"]
        bias[tau] = np.abs(g.mean(0) - truth["logits"]), g.std(0) / np.sqrt(len(g))
    assert np.max(bias[2.0][0] / bias[2.0][1]) > 10
    # of order tau: a twentieth, but for the noise
    assert np.all(bias[0.1][0] < 0.1 * bias[2.0][0].max() + 5 * bias[0.1][1])
    for tau in (2.0, 0.3):
        value, _ = measured(sites.GumbelSoftmax(tau, hard=True), RELAXED, 1)
        assert abs(value.value - exact(LOGITS)) < 5 * value.standard_error
    soft, _ = measured(sites.GumbelSoftmax(2.0), RELAXED, 1)
    assert abs(soft.value - exact(LOGITS)) > 10 * soft.standard_error


@pytest.mark.parametrize("estimator", [sites.Enumeration(), sites.MeasureValued(), sites.ScoreFunction()])
def test_other_estimators_of_one_hot_sites_are_unbiased(estimator):
    value, found = measured(estimator, TARGET, 4000)
    assert_mean_is(found, {"logits": jax.grad(exact)(LOGITS)}, 0.4)
    assert abs(value.value - exact(LOGITS)) < 5 * value.standard_error + 1e-12


def test_a_relaxed_density_is_the_target_at_vertices_and_linear_in_shares_of_the_prior():
    density = jax.jit(lambda target, z: target.log_density(z))
    for vertex in np.eye(3):
        np.testing.assert_allclose(density(RELAXED, vertex), density(TARGET, vertex), rtol=1e-12)
    share = np.array([0.2, 0.3, 0.5])
    between = share @ np.log(PRIOR) + dist.Normal(share @ MEANS, 1.0).log_prob(Y)
    np.testing.assert_allclose(density(RELAXED, share), between, rtol=1e-12)

    def by_counts(y):
        kind = numpyro.sample("kind", dist.Multinomial(1, PRIOR))
        numpyro.sample("y", dist.Normal(kind @ MEANS, 1.0), obs=y)

    counts = Relaxed(jn.targets.from_numpyro(by_counts, Y))
    np.testing.assert_allclose(density(counts, share), between, rtol=1e-12)


def test_an_index_is_refused_with_the_mend_in_guide_and_model():
    def category(y):
        kind = numpyro.sample("kind", dist.Categorical(PRIOR))
        numpyro.sample("y", dist.Normal(jnp.asarray(MEANS)[kind], 1.0), obs=y)

    def two(y):
        kind = numpyro.sample("kind", dist.Categorical(PRIOR[1:] / 0.8))
        numpyro.sample("y", dist.Normal(kind, 1.0), obs=y)

    def count(y):
        numpyro.sample("n", dist.Binomial(1, 0.4))

    def index():
        fn = dist.Categorical(logits=numpyro.param("logits", LOGITS))
        numpyro.sample("kind", fn, infer={"estimator": sites.GumbelSoftmax()})

    for model in (category, two):
        with pytest.raises(InputError, match=r"'kind' is a CategoricalProbs, an index.*OneHotCategorical"):
            Relaxed(jn.targets.from_numpyro(model, Y))
    with pytest.raises(InputError, match="'n' is a BinomialProbs, neither a coin nor a one-hot vector"):
        Relaxed(jn.targets.from_numpyro(count, Y))
    with pytest.raises(InputError, match=r"'kind' is a CategoricalLogits, an index.*OneHotCategorical.*unbiased"):
        jn.families.program(index)
    for temperature in (0.0, -1.0, float("nan")):
        with pytest.raises(InputError, match="temperature must be positive"):
            sites.GumbelSoftmax(temperature)
