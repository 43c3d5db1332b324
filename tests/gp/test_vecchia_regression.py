"""Regression on nearest rows: exact where all earlier rows are parents, close with few; the estimators that take it."""

import jax
import numpy as np
import pytest

from jensen.core import InputError
from jensen.gp import Exact, GPClassifier, GPRegressor, VecchiaRegression
from jensen.gp.kernels import Matern32

KERNEL = Matern32([0.3, 0.5], 1.5)


@pytest.fixture(autouse=True)
def _double():
    with jax.enable_x64(True):
        yield


def plane(n, seed=0):
    """Rows of a rough surface with noise 0.05."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(size=(n, 2))
    cov = np.asarray(KERNEL(x, x)) + 0.05 * np.eye(n)
    return x, np.linalg.cholesky(cov) @ rng.normal(size=n)


def slope(model):
    """Derivative of the evidence in the lengthscales."""

    def evidence(scale):
        return model.at({"kernel": Matern32(scale, 1.5), "noise": model.noise}).log_evidence()

    return jax.jit(jax.grad(evidence))(KERNEL.lengthscale)


def test_all_earlier_rows_as_parents_are_the_exact_posterior():
    x, y = plane(40)
    new = np.random.default_rng(1).uniform(size=(5, 2))
    exact, ours = Exact(KERNEL, 0.05, x, y), VecchiaRegression(KERNEL, 0.05, x, y, 40)
    assert float(ours.log_evidence()) == pytest.approx(float(exact.log_evidence()), abs=1e-9)
    np.testing.assert_allclose(slope(ours), slope(exact), rtol=1e-8)
    # predictions lean on 39 rows, the most that a row has: all but the farthest
    for found, truth in zip(ours.predict(new), exact.predict(new), strict=True):
        np.testing.assert_allclose(found, truth, atol=1e-2)


def test_few_neighbours_are_close_to_exact_and_more_are_closer():
    x, y = plane(200)
    exact = float(Exact(KERNEL, 0.05, x, y).log_evidence())
    gaps = [abs(float(VecchiaRegression(KERNEL, 0.05, x, y, num).log_evidence()) - exact) for num in (4, 16, 64)]
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[1] < 0.02 * 200  # nats; a hundredth of a nat a row


def test_the_regressor_takes_neighbours_where_points_are_too_few_and_says_so():
    """Rough in the plane: neighbours are nearly exact there, and the points that were left are not."""
    rng = np.random.default_rng(3)
    x = rng.uniform(0, 12, (2300, 2))
    waves = np.sin(5 * x[:, 0]) * np.cos(4 * x[:, 1])
    y = waves + 0.1 * rng.normal(size=2300)
    model = GPRegressor(num_neighbours=12).fit(x[:2100], y[:2100])
    assert model.representation_.startswith("vecchia: 100 inducing points would leave")
    mean, sd = model.predict(x[2100:], return_std=True)
    assert np.sqrt(np.mean((mean - waves[2100:]) ** 2)) < 0.3
    inside = np.mean(np.abs(mean - waves[2100:]) < 1.645 * sd)
    assert abs(inside - 0.9) < 5 * np.sqrt(0.9 * 0.1 / 200)
    with pytest.raises(InputError, match="no joint covariance"):
        model.predict(x[2100:2110], return_cov=True)


def test_the_classifier_on_neighbours_is_close_to_the_dense_one():
    rng = np.random.default_rng(4)
    x = rng.uniform(size=(120, 2))
    labels = (np.sin(6 * x[:, 0]) * x[:, 1] + 0.1 * rng.normal(size=120) > 0).astype(int)
    fixed = {"kernel": Matern32([0.5, 0.5], 2.0), "optimise": False}
    dense = GPClassifier(representation="exact", **fixed).fit(x, labels)
    ours = GPClassifier(representation="vecchia", **fixed).fit(x, labels)
    new = rng.uniform(size=(50, 2))
    assert np.max(np.abs(dense.predict_proba(new) - ours.predict_proba(new))) < 0.02
    assert ours.log_evidence_ == pytest.approx(dense.log_evidence_, abs=0.5)
    with pytest.raises(InputError, match="two classes"):
        GPClassifier(representation="vecchia").fit(x, np.arange(120) % 3)


def test_wrong_input_is_refused():
    x, y = plane(10)
    with pytest.raises(InputError, match="num_neighbours"):
        GPRegressor(num_neighbours=0).fit(x, y)
    with pytest.raises(InputError, match="coincide"):
        VecchiaRegression(KERNEL, 0.05, np.repeat(x, 2, 0), np.repeat(y, 2))
