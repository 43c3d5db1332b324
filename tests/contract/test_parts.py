"""What every objective and every estimator keeps to: bounds declared, one compilation, both float widths, no bias."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen.core import Estimate, GradientEstimator, Objective
from jensen.families import DiagonalGaussian, Gaussian, kl_gaussian
from jensen.objectives import NegativeElbo
from jensen.targets import from_log_density, from_rows
from tests.contract.helpers import all_finite, compilations
from tests.contract.parts import ESTIMATORS, OBJECTIVES, OF_POINTS, OF_SEVERAL_WEIGHTS, OF_THEIR_OWN_FAMILY
from tests.contract.test_classes import PUBLIC

objectives = pytest.mark.parametrize("name", OBJECTIVES)


def log_prior(z):
    return -0.5 * jnp.sum(z**2)


def log_likelihood(z, y):
    return -0.5 * (y - z[0]) ** 2


def target():
    return from_rows(log_prior, log_likelihood, np.linspace(-1, 1, 8), jnp.zeros(2))


def family():
    return DiagonalGaussian(jnp.array([0.1, -0.2]), jnp.array([-0.3, 0.1]))


@eqx.filter_jit
def evaluate(objective, key, q, target):
    estimate = objective.loss(key, q, target)
    return estimate, eqx.filter_grad(lambda q: objective.loss(key, q, target).surrogate)(q)


@objectives
def test_declares_its_bound_and_gives_an_estimate(name):
    objective = OBJECTIVES[name](0.0)
    assert type(objective).__name__ == name
    assert objective.bound in ("lower", "upper", None)
    estimate, gradient = evaluate(objective, jax.random.key(0), family(), target())
    assert isinstance(estimate, Estimate)
    assert all_finite((estimate, gradient))
    assert max(jnp.max(jnp.abs(g)) for g in jax.tree.leaves(gradient)) > 0


@objectives
def test_another_setting_compiles_nothing(name):
    evaluate(OBJECTIVES[name](0.0), jax.random.key(0), family(), target())
    other, key, q, p = OBJECTIVES[name](0.25), jax.random.key(1), family(), target()
    with compilations() as count:
        evaluate(other, key, q, p)
    assert len(count) == 0


@objectives
def test_single_precision_stays_single(name):
    with jax.enable_x64(False):
        out = evaluate(OBJECTIVES[name](0.0), jax.random.key(0), family(), target())
    assert {leaf.dtype for leaf in jax.tree.leaves(out)} == {jnp.dtype("float32")}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_gradient_of_the_elbo_has_no_bias(name, key):
    """Of a factorised q against a correlated p: five standard errors from that of the closed form."""
    p = Gaussian(jnp.array([0.5, -1.0]), jnp.array([[1.2, 0.0], [0.5, 0.8]]))
    density = from_log_density(lambda z, p: p.log_prob(z), jnp.zeros(2), p)
    objective = NegativeElbo(ESTIMATORS[name]())
    gradient = jax.grad(lambda q, key: objective.loss(key, q, density).surrogate)
    rows = jax.jit(jax.vmap(lambda k: gradient(family(), k)))(jax.random.split(key, 20_000))

    def exact(q):
        return kl_gaussian(Gaussian(q.mean, jnp.diag(jnp.exp(q.log_scale))), p)

    for got, truth in zip(jax.tree.leaves(rows), jax.tree.leaves(jax.grad(exact)(family())), strict=True):
        error = jnp.std(got, axis=0) / np.sqrt(len(got))
        assert jnp.all(jnp.abs(jnp.mean(got, axis=0) - truth) < 5 * error)
        assert jnp.all(5 * error < 0.3 * jnp.max(jnp.abs(truth)))


def test_every_objective_is_in_the_table():
    # those of a domain folder are tested there
    here = {c.__name__ for n, c in PUBLIC.items() if issubclass(c, Objective) and n.startswith("jensen.objectives.")}
    assert here - set(OBJECTIVES) - OF_THEIR_OWN_FAMILY == set()


def test_every_estimator_of_a_reparameterised_gaussian_is_in_the_table():
    general = {
        c.__name__
        for n, c in PUBLIC.items()
        if issubclass(c, GradientEstimator) and issubclass(DiagonalGaussian, c.needs)
    }
    assert general - set(ESTIMATORS) - OF_SEVERAL_WEIGHTS - OF_POINTS == set()
