"""Unknowns that are one-hot vectors: spaces, sums, guides, against brute force."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.distributions import constraints

import jensen as jn
from jensen.core import InputError
from jensen.targets import Conditioned, Enumerated, OneHotCategorical

PRIOR = np.array([0.2, 0.5, 0.3])
WEIGHTS = np.array([[0.0, 1.0], [2.0, -1.0], [-1.0, 0.5]])
Y = np.array([0.3, 1.0, -0.5])


def model(y):
    kind = numpyro.sample("kind", OneHotCategorical(PRIOR))
    coin = numpyro.sample("coin", dist.Multinomial(1, np.array([0.25, 0.75])))
    mean = numpyro.sample("mean", dist.Normal(0, 1))
    with numpyro.plate("rows", len(y)):
        row = numpyro.sample("row", OneHotCategorical(logits=np.log(PRIOR[::-1]) + 1.0))
        numpyro.sample("y", dist.Normal(mean + kind @ WEIGHTS[:, 0] + row @ WEIGHTS[:, 1] + coin[..., 0], 1.0), obs=y)


def brute_force(mean):
    """log p(mean, y), the sum over all 6 x 3^3 values."""
    normal = lambda x, m: np.exp(-0.5 * (x - m) ** 2) / np.sqrt(2 * np.pi)  # noqa: E731
    total = 0.0
    for kind, coin in itertools.product(range(3), range(2)):
        rows = [
            sum(PRIOR[2 - k] * normal(y, mean + WEIGHTS[kind, 0] + WEIGHTS[k, 1] + (coin == 0)) for k in range(3))
            for y in Y
        ]
        total += PRIOR[kind] * (0.25, 0.75)[coin] * np.prod(rows)
    return np.log(total * normal(mean, 0.0))


@pytest.fixture(scope="module")
def target():
    return jn.targets.from_numpyro(model, Y)


def test_one_hot_unknowns_are_summed_out_exactly_and_cell_by_cell(target):
    summed = Enumerated(target)
    assert (len(summed.sums.outer), len(summed.sums.inner)) == (6, 3)
    for mean in (0.0, 1.3):
        np.testing.assert_allclose(summed.log_density(jnp.array([mean])), brute_force(mean), rtol=1e-12)
    draw = summed.posterior_discrete(jax.random.key(0), jnp.array([0.4]))
    for name, shape in {"kind": (3,), "coin": (2,), "row": (3, 3)}.items():
        assert draw[name].shape == shape
        assert np.all(np.asarray(draw[name]).sum(-1) == 1)


def test_a_point_to_start_from_is_a_vertex_and_every_vertex_is_met(target):
    z = jax.vmap(target.start)(jax.random.split(jax.random.key(0), 300))
    kinds = np.asarray(jax.vmap(target.space.split)(z)["kind"])
    assert np.all(target.space.variables[0].support.holds(jnp.asarray(kinds)))
    # five standard errors of a share of 1/3
    np.testing.assert_allclose(kinds.mean(0), 1 / 3, atol=5 * np.sqrt(2 / 9 / 300))


def test_z_holds_the_vector_and_the_nearest_vertex_is_what_the_model_sees(target):
    z = target.space.split(target.start(jax.random.key(1))) | {"kind": jnp.array([0.3, 0.6, 0.1])}
    vertex = z | {"kind": jnp.array([0.0, 1.0, 0.0])}
    x = target.space.constrain(target.space.join(z))
    np.testing.assert_array_equal(x["kind"], [0, 1, 0])
    np.testing.assert_array_equal(
        target.log_density(target.space.join(z)), target.log_density(target.space.join(vertex))
    )
    given = {name: np.asarray(value) for name, value in x.items()}
    np.testing.assert_array_equal(target.space.constrain(target.space.unconstrain(given))["row"], x["row"])


def test_conditioning_on_a_vector(target):
    given = Conditioned(Conditioned(target, {"kind": [0, 0, 1]}), {"coin": [1, 0]})
    assert given.space.names == ("mean", "row")
    with pytest.raises(InputError, match="'kind' does not lie in its support one_hot"):
        Conditioned(target, {"kind": [0, 1, 1]})


def test_a_guide_of_one_hot_sites_comes_to_the_posterior_and_is_certified_value_by_value(tmp_path):
    def small(y):
        kind = numpyro.sample("kind", OneHotCategorical(PRIOR))
        numpyro.sample("y", dist.Normal(kind @ WEIGHTS[:, 0], 1.0), obs=y)

    def guide():
        numpyro.sample("kind", OneHotCategorical(logits=numpyro.param("logits", jnp.zeros(3))))

    target = jn.targets.from_numpyro(small, 1.0)
    fit = jn.run(
        jn.algorithms.GradientVI(family=jn.families.program(guide), learning_rate=0.1),
        target,
        key=jax.random.key(0),
        steps=200,
        progress=False,
    )
    mass = PRIOR * np.exp(-0.5 * (1.0 - WEIGHTS[:, 0]) ** 2)
    found = jax.nn.softmax(fit.posterior.q.parameters["logits"])
    np.testing.assert_allclose(found, mass / mass.sum(), atol=0.01)  # the enumerated gradient has no noise
    assert fit.certificate.passed
    evidence = np.log(mass.sum() / np.sqrt(2 * np.pi))
    np.testing.assert_allclose([fit.certificate.evidence_lower, fit.certificate.evidence_upper], evidence, rtol=1e-6)
    fit.save(tmp_path / "fit")
    again = jn.load(tmp_path / "fit").posterior
    assert again.space.variables[0].support.kind == "one_hot"
    kinds = np.asarray(again.sample(jax.random.key(1), 500)["kind"])
    assert np.all(kinds.sum(-1) == 1)
    np.testing.assert_allclose(kinds.mean(0), found, atol=5 * 0.5 / np.sqrt(500))


def test_sampling_and_density_of_the_distribution_agree():
    fn = OneHotCategorical(logits=jnp.array([[0.3, -jnp.inf, 1.0], [0.0, 0.0, 5.0]]))
    x = np.asarray(fn.sample(jax.random.key(0), (4000,)))
    assert x.shape == (4000, 2, 3)
    p = np.exp(np.asarray(fn.log_prob(fn.enumerate_support())))
    np.testing.assert_allclose(p.sum(0), 1.0, rtol=1e-12)
    assert p[1, 0] == 0.0
    np.testing.assert_allclose(x.mean(0), p.T, atol=5 * 0.5 / np.sqrt(4000))
    np.testing.assert_allclose(fn.entropy(), -np.sum(np.where(p > 0, p * np.log(np.maximum(p, 1e-300)), 0), 0))
    np.testing.assert_allclose(fn.mean, p.T)
    slope = jax.grad(lambda x: fn.log_prob(jnp.stack([x, x]))[1])(jnp.array([0.0, 1.0, 0.0]))
    np.testing.assert_allclose(slope, jax.nn.log_softmax(jnp.array([0.0, 0.0, 5.0])))
    assert not np.any(fn.support(np.array([[1, 1, 0], [0, 0, 0]])))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "probs or logits"),
        ({"probs": [0.5, 0.5], "logits": [0.0, 0.0]}, "not both"),
        ({"probs": [0.5, 0.6]}, "sum to 1"),
        ({"logits": 0.3}, "takes a vector"),
    ],
)
def test_bad_arguments_are_refused(arguments, words):
    with pytest.raises(InputError, match=words):
        OneHotCategorical(**{name: np.asarray(value) for name, value in arguments.items()})


def test_counts_of_more_than_one_are_refused_by_name():
    def counts():
        numpyro.sample("c", dist.Multinomial(2, np.array([0.5, 0.5])))

    with pytest.raises(InputError, match=r"'c' is discrete.*OneHotCategorical"):
        jn.targets.from_numpyro(counts)


def test_a_guide_must_have_the_support_of_the_model(target):
    def guide():
        p = numpyro.param("p", 0.5, constraint=constraints.unit_interval)
        numpyro.sample("kind", dist.Bernoulli(p * jnp.ones(3)).to_event(1))
        numpyro.sample("coin", OneHotCategorical(jnp.array([0.5, 0.5])))
        numpyro.sample("mean", dist.Normal(0, 1))
        numpyro.sample("row", OneHotCategorical(logits=jnp.zeros((3, 3))))

    with pytest.raises(InputError, match=r"'kind' of the guide has support integer.0, 1., the model one_hot"):
        jn.families.program(guide).check(target)
