"""Estimators put together in one program, against the gradient of its enumerated and integrated ELBO."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.distributions import constraints
from tests.gradient_estimators.programs import assert_mean_is, gradients, total_variance

import jensen as jn
from jensen.core import InputError
from jensen.families import FullRank, ProgramFamily
from jensen.gradient_estimators import PerSite, Reparameterisation, sites
from jensen.objectives import ImportanceWeighted, NegativeElbo

NODES, WEIGHTS = (jnp.asarray(a) for a in np.polynomial.hermite_e.hermegauss(40))
Y = 1.5


def model(y):
    a = numpyro.sample("a", dist.Bernoulli(0.3))
    x = numpyro.sample("x", dist.Normal(1.0 * a, 1.0))
    b = numpyro.sample("b", dist.Categorical(jax.nn.softmax(x * jnp.arange(3))))
    numpyro.sample("y", dist.Normal(x + 1.0 * a * b, 1.0), obs=y)


def guide(first, second, third):
    infer = lambda e: {} if e is None else {"estimator": e}  # noqa: E731
    positive = constraints.positive
    a = numpyro.sample(
        "a", dist.Bernoulli(numpyro.param("p", 0.4, constraint=constraints.unit_interval)), infer=infer(first)
    )
    mean = numpyro.param("m", 0.3) + numpyro.param("w", 0.5) * a
    x = numpyro.sample("x", dist.Normal(mean, numpyro.param("s", 0.8, constraint=positive)), infer=infer(second))
    logits = numpyro.param("l", jnp.array([0.1, 0.2, -0.3])) + numpyro.param("v", 0.4) * x * jnp.arange(3)
    numpyro.sample("b", dist.Categorical(logits=logits), infer=infer(third))


TARGET = jn.targets.from_numpyro(model, Y)


def family(*estimators) -> ProgramFamily:
    builder = jn.families.program(guide, *estimators)
    builder.check(TARGET)
    return builder.family(jax.random.key(0), TARGET)


def exact(parameters):
    """-ELBO: the sum over a and b of the Gauss-Hermite sum over x."""
    p, s = jax.nn.sigmoid(parameters["p"]), jnp.exp(parameters["s"])

    def cost(a, eps, b):
        mean = parameters["m"] + parameters["w"] * a
        x = mean + s * eps
        log_b = jax.nn.log_softmax(parameters["l"] + parameters["v"] * x * jnp.arange(3))
        log_q = dist.Bernoulli(p).log_prob(a) + dist.Normal(mean, s).log_prob(x) + log_b[b]
        log_p = dist.Bernoulli(0.3).log_prob(a) + dist.Normal(a, 1.0).log_prob(x)
        log_p += jax.nn.log_softmax(x * jnp.arange(3))[b] + dist.Normal(x + a * b, 1.0).log_prob(Y)
        return jnp.where(a, p, 1 - p) * jnp.exp(log_b[b]) * (log_q - log_p)

    grid = jax.vmap(jax.vmap(jax.vmap(cost, (None, None, 0)), (None, 0, None)), (0, None, None))
    values = grid(jnp.arange(2), NODES, jnp.arange(3))
    return jnp.sum(values * WEIGHTS[:, None]) / jnp.sqrt(2 * jnp.pi)


E, M, S, R = sites.Enumeration(), sites.MeasureValued(), sites.ScoreFunction(), sites.Reparameterised()
MIXED = {
    "left to themselves": (None, None, None),
    "all score functions": (S, S, S),
    "all measure-valued": (M, M, M),
    "score, path, sum": (S, R, E),
    "scores and path": (S, R, S),
    "measures and path": (M, R, M),
    "measure, landing, score": (M, sites.StickingTheLanding(), S),
    "score, landing of a score, sum": (S, sites.StickingTheLanding(S), E),
    "sum, implicit, sum": (E, sites.Implicit(), E),
}
N = 6000


@pytest.fixture(scope="module")
def measured():
    """Gradients of every mixture: 6,000 estimates of two draws."""
    return {
        name: gradients(
            family(*estimators),
            lambda q, key: NegativeElbo(PerSite(2)).loss(key, q, TARGET),
            jax.random.key(i),
            N,
        )
        for i, (name, estimators) in enumerate(MIXED.items())
    }


@pytest.mark.parametrize("name", MIXED)
def test_mixtures_of_estimators_are_unbiased(name, measured):
    assert_mean_is(measured[name], jax.grad(exact)(family(*MIXED[name]).parameters), 0.4)


def test_variances_come_in_the_order_of_what_is_summed(measured):
    spread = {name: total_variance(draws) for name, draws in measured.items()}
    ordered = ("left to themselves", "measures and path", "scores and path", "all score functions")
    values = [spread[name] for name in ordered]
    assert values == sorted(values)
    assert spread["left to themselves"] < spread["score, path, sum"] < spread["scores and path"]


@pytest.mark.parametrize("name", ["left to themselves", "measure, landing, score"])
def test_the_value_is_the_objective(name):
    q = family(*MIXED[name])
    estimate = jax.jit(lambda q, key: NegativeElbo(PerSite(4000)).loss(key, q, TARGET))(q, jax.random.key(1))
    assert abs(estimate.value - exact(q.parameters)) < 5 * estimate.standard_error
    assert 5 * estimate.standard_error < 0.1


def test_objectives_of_several_draws_agree_between_estimators():
    found, objective = {}, ImportanceWeighted(2, PerSite(2))
    for name in ("left to themselves", "all score functions"):
        found[name] = gradients(
            family(*MIXED[name]), lambda q, key: objective.loss(key, q, TARGET), jax.random.key(3), 3000
        )
    for parameter, g in found["left to themselves"].items():
        h = found["all score functions"][parameter]
        error = np.hypot(g.std(0), h.std(0)) / np.sqrt(3000)
        assert np.all(np.abs(g.mean(0) - h.mean(0)) < 5 * error)


def test_relaxed_coins_are_biased_and_tend_to_the_truth():
    def coin(y):
        a = numpyro.sample("a", dist.Bernoulli(0.3))
        numpyro.sample("y", dist.Normal(2.0 * a, 1.0), obs=y)

    def tossed(temperature):
        p = numpyro.param("p", 0.4, constraint=constraints.unit_interval)
        numpyro.sample("a", dist.Bernoulli(p), infer={"estimator": sites.GumbelSoftmax(temperature)})

    target = jn.targets.from_numpyro(coin, Y)
    relaxed = jn.targets.Relaxed(target)
    z = jnp.array([1.0])
    density = jax.jit(lambda target, z: target.log_density(z))
    np.testing.assert_allclose(density(relaxed, z), density(target, z), rtol=1e-12)
    between = density(relaxed, jnp.array([0.3]))
    prior = 0.3 * jnp.log(0.3) + 0.7 * jnp.log(0.7)
    np.testing.assert_allclose(between, prior + dist.Normal(0.6, 1.0).log_prob(Y), rtol=1e-12)

    p = 0.4
    terms = [jnp.log(0.3) + dist.Normal(2.0, 1.0).log_prob(Y), jnp.log(0.7) + dist.Normal(0.0, 1.0).log_prob(Y)]
    truth = p * (1 - p) * (np.log(p / (1 - p)) - (terms[0] - terms[1]))
    bias = {}
    for temperature in (2.0, 0.1):
        builder = jn.families.program(tossed, jnp.asarray(temperature))
        q = builder.family(jax.random.key(0), relaxed)
        g = gradients(q, lambda q, key: NegativeElbo(PerSite(2)).loss(key, q, relaxed), jax.random.key(0), 20_000)["p"]
        bias[temperature] = abs(g.mean() - truth), g.std() / np.sqrt(len(g))
    assert bias[2.0][0] > 10 * bias[2.0][1]
    assert bias[0.1][0] < 0.5 * bias[2.0][0]


def test_impossible_pairs_are_refused():
    q = family(*MIXED["measure, landing, score"])
    with pytest.raises(InputError, match="StickingTheLanding at site 'x' is biased"):
        ImportanceWeighted(2, PerSite(2)).loss(jax.random.key(0), q, TARGET)
    with pytest.raises(InputError, match="needs a Reparameterised family"):
        NegativeElbo(Reparameterisation()).loss(jax.random.key(0), q, TARGET)
    gaussian = FullRank().build(jax.random.key(0), jn.families.Gaussian(jnp.zeros(3), jnp.eye(3)))
    with pytest.raises(InputError, match="PerSite needs a ProgramFamily"):
        NegativeElbo(PerSite()).loss(jax.random.key(0), gaussian, TARGET)

    def many():
        p = numpyro.param("p", 0.4, constraint=constraints.unit_interval)
        for name in ("a", "b"):
            numpyro.sample(name, dist.Bernoulli(p * jnp.ones(8)).to_event(1), infer={"estimator": sites.Enumeration()})

    def coins():
        for name in ("a", "b"):
            numpyro.sample(name, dist.Bernoulli(0.5 * jnp.ones(8)).to_event(1))

    target = jn.targets.from_numpyro(coins)
    builder = jn.families.program(many)
    with pytest.raises(InputError, match="Enumerating site 'b' takes 65536 values"):
        NegativeElbo(PerSite(2)).loss(jax.random.key(0), builder.family(jax.random.key(0), target), target)
