"""Regression by the filter: the same numbers as by dense algebra."""

import equinox as eqx
import jax
import numpy as np
import pytest

from jensen.core import InputError
from jensen.gp import Exact, GPClassifier, GPRegressor, Kalman
from jensen.gp.kernels import RBF, HidaMatern, Matern52
from jensen.gp.priors import StateSpace


def irregular(n=40, seed=0):
    """Times out of order, some of them twice, and a wave with noise."""
    rng = np.random.default_rng(seed)
    t = rng.uniform(0, 8, n)
    t[3], t[9] = t[20], t[21]
    return t[:, None], np.sin(t) + 0.2 * rng.normal(size=n)


@eqx.filter_jit
def numbers(model, new):
    """Evidence, its gradient in kernel and noise, predictions, joint covariance."""

    def evidence(parts):
        return model.at(parts).log_evidence()

    kernel = model.prior.kernels[0] if isinstance(model, Kalman) else model.kernel
    parts = {"kernel": kernel, "noise": model.noise}
    return *jax.value_and_grad(evidence)(parts), model.predict(new), model.joint(new)


def test_the_filter_gives_what_dense_algebra_gives():
    t, y = irregular()
    present = np.arange(40) != 5
    kernel = Matern52(0.7, 1.3) + HidaMatern(0, 1.0, 2.0, 0.8)
    # before, between, at and after the times of the data, out of order
    new = np.array([[4.0], [-1.0], t[3], [9.5], [4.0], [2.2]])
    dense = numbers(Exact(kernel, 0.05, t, y, present), new)
    fast = numbers(Kalman(kernel, 0.05, t, y, present), new)
    for a, b in zip(jax.tree.leaves(dense), jax.tree.leaves(fast), strict=True):
        np.testing.assert_allclose(b, a, atol=1e-8, rtol=1e-9)


def test_a_regular_grid_in_blocks_changes_nothing():
    t, y = np.linspace(0, 5, 30), np.cos(np.linspace(0, 5, 30))
    model = Kalman(Matern52(1.0), 0.1, t, y)
    assert model.prior.gaps.shape == (1,)
    cut = eqx.tree_at(lambda m: m.prior, model, StateSpace(Matern52(1.0), t, blocks=4))
    new = np.array([0.3, 7.0])
    _, cov = eqx.filter_jit(lambda m: m.joint(new))(cut)
    np.testing.assert_allclose(cov, Exact(Matern52(1.0), 0.1, t, y).joint(new)[1], atol=1e-10)


def test_values_of_another_number_than_times_are_refused():
    with pytest.raises(InputError, match="a value for each time"):
        Kalman(Matern52(), 0.1, np.arange(4.0), np.zeros(3))


def test_the_estimator_by_a_filter_is_the_exact_one():
    t, y = irregular(60)
    new = np.linspace(-1, 9, 11)[:, None]
    exact, fast = (GPRegressor(representation=r).fit(t, y) for r in ("exact", "state_space"))
    assert fast.log_evidence_ == pytest.approx(exact.log_evidence_, abs=1e-6)
    for a, b in zip(exact.predict(new, return_cov=True), fast.predict(new, return_cov=True), strict=True):
        np.testing.assert_allclose(b, a, atol=1e-6)
    _, std = fast.predict(new, return_std=True)
    draws = fast.sample_y(new, 4000, random_state=1)
    # five standard errors of a standard deviation
    assert np.all(np.abs(draws.std(1) / std - 1) < 5 / np.sqrt(2 * 4000))


def test_the_classifier_by_a_filter_is_the_exact_one():
    t, y = irregular(60)
    labels = np.digitize(y, [-0.4, 0.4])
    exact, fast = (GPClassifier(representation=r, optimise=False).fit(t, labels) for r in ("exact", "state_space"))
    new = np.linspace(-1, 9, 11)[:, None]
    np.testing.assert_allclose(fast.predict_proba(new), exact.predict_proba(new), atol=1e-5)


def test_long_series_take_the_filter_and_say_so():
    rng = np.random.default_rng(0)
    t = rng.permutation(np.linspace(0, 60, 1200))[:, None]
    y = np.sin(t[:, 0]) + 0.1 * rng.normal(size=1200)
    model = GPRegressor(Matern52(1.0), optimise=False).fit(t, y)
    assert model.representation_ == (
        "state_space: one input and a kernel with 3 states: exact, and linear in the 1200 latent values"
    )
    assert model.score(t, y) > 0.97
    assert GPRegressor(RBF(1.0), optimise=False).fit(t, y).representation_.startswith("exact: 1200")


def test_training_that_begins_on_a_stretch_ends_at_the_mode_of_all(monkeypatch):
    from jensen.gp import _representation

    t, y = irregular(300)
    at_once = GPRegressor(representation="state_space").fit(t, y)
    monkeypatch.setattr(_representation, "STRETCH", 60)
    in_stages = GPRegressor(representation="state_space").fit(t, y)
    for name, value in at_once.hyperparameters_.items():
        # the run stops within a hundredth of a posterior standard deviation, which here is below one
        assert np.log(in_stages.hyperparameters_[name] / value) == pytest.approx(0, abs=0.02)
