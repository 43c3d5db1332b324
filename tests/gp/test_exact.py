"""Exact regression with rows that share an input, and the climb that begins on some of the rows."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from jensen import run
from jensen.algorithms import Mode
from jensen.core import PointPosterior
from jensen.gp import GPRegressor
from jensen.gp._climb import GrowingEvidence, GrowingMode
from jensen.gp.evidence_target import EvidenceTarget
from jensen.gp.exact import Exact, merged, rounding_variance
from jensen.gp.kernels import Matern52


def repeated(seed, n=30, places=12):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((places, 2))[rng.integers(0, places, n)]
    return x, np.sin(x[:, 0]) + 0.3 * rng.standard_normal(n)


@pytest.mark.parametrize("seed", range(5))
def test_rows_with_one_input_may_be_merged(seed):
    x, y = repeated(seed)
    places, means, repeats, scatter = merged(x, y)
    assert len(places) < len(x)
    assert np.sum(repeats) == len(x)
    kernel, noise, rounding = Matern52(jnp.array([0.8, 1.5]), 1.2), 0.09, 0.01
    all_rows = Exact(kernel, noise, x, y, rounding=rounding)
    few = Exact(kernel, noise, places, means, None, repeats, scatter, rounding)
    truth = multivariate_normal(np.zeros(len(x)), kernel(x, x) + 0.1 * np.eye(len(x))).logpdf(y)

    def evidence(noise, model):
        return eqx.tree_at(lambda m: m.noise, model, noise).log_evidence()

    for model in (all_rows, few):
        assert float(model.log_evidence()) == pytest.approx(truth, rel=1e-10)
    slopes = [jax.grad(evidence)(jnp.asarray(noise), model) for model in (all_rows, few)]
    assert float(slopes[0]) == pytest.approx(float(slopes[1]), rel=1e-9)
    new = np.random.default_rng(seed).standard_normal((4, 2))
    for one, other in zip(jax.tree.leaves(all_rows.joint(new)), jax.tree.leaves(few.joint(new)), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)


def test_distinct_rows_keep_their_order():
    x, y = np.array([[2.0], [1.0], [3.0]]), np.array([1.0, 2.0, 3.0])
    for one, other in zip(merged(x, y), (x, y, np.ones(3), 0.0), strict=True):
        np.testing.assert_array_equal(one, other)


def test_rounding_counts_where_a_target_comes_twice_at_an_input():
    x = np.array([[0.0], [0.0], [1.0], [2.0]])
    assert rounding_variance(x, np.array([5.0, 5.0, 6.0, 8.0])) == pytest.approx(1 / 12)
    assert rounding_variance(x, np.array([5.0, 5.5, 6.0, 8.0])) == 0  # no target twice at an input
    assert rounding_variance(x[[0, 2, 3]], np.array([5.0, 5.0, 6.0])) == 0  # nor an input
    assert rounding_variance(x, np.full(4, 5.0)) == 0


def test_marks_given_twice_do_not_end_without_noise():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((90, 1))
    mark = np.round(2 * np.sin(2 * x[:, 0]) + 0.8 * rng.standard_normal(90))
    model = GPRegressor().fit(np.concatenate([x, x[:60]]), np.concatenate([mark, mark[:60]]))
    assert model.noise_ * np.var(np.concatenate([mark, mark[:60]])) >= 1 / 12
    mean, sd = model.predict(x, return_std=True, noise=True)
    assert np.all(sd >= np.sqrt(1 / 12))
    assert np.mean((mean - mark) ** 2) < np.var(mark)


def test_many_rows_of_few_inputs_are_exact():
    rng = np.random.default_rng(0)
    places = rng.standard_normal((25, 2))
    index = rng.integers(0, 25, 2100)
    level = np.sin(places[:, 0]) + places[:, 1]
    model = GPRegressor(optimise=False, noise=0.01).fit(places[index], level[index] + 0.1 * rng.standard_normal(2100))
    assert model.representation_.startswith("exact: 25 latent values")
    assert np.max(np.abs(model.predict(places) - level)) < 5 * 0.1 / np.sqrt(np.min(np.bincount(index)))


@pytest.mark.parametrize("seed", range(5))
def test_a_climb_that_begins_on_some_rows_ends_at_the_mode_of_all(seed):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-3, 3, (80, 1))
    y = np.sin(2 * x[:, 0]) + 0.2 * rng.standard_normal(80)
    tree = {"kernel": Matern52(1.0, 1.0), "noise": jnp.asarray(0.1)}

    def evidence(tree, model):
        return model.at(tree).log_evidence()

    whole, few = (EvidenceTarget(evidence, tree, Exact(tree["kernel"], tree["noise"], x[:n], y[:n])) for n in (80, 30))
    start = PointPosterior(whole.space, whole.hyperparameters.theta, whole.hyperparameters.theta[None])
    key, mode = jax.random.key(seed), Mode(num_starts=1, tolerance=1e-4)
    alone = run(mode, whole, key=key, steps=100, start=start, certify=False)
    target = GrowingEvidence(whole, few, 80 / 30)
    grown = run(GrowingMode(mode, 30), target, key=key, steps=100, start=start, certify=False)
    ends = [fit.posterior.sample_z(key, 1)[0] for fit in (alone, grown)]
    np.testing.assert_allclose(*ends, atol=1e-3)
    heights = np.asarray(grown.runs[0].history.objective)
    assert heights[0] == pytest.approx(-float(few.log_density(start.z)), rel=1e-9)
    assert heights[-1] == pytest.approx(-float(whole.log_density(ends[1])), rel=1e-9)
