"""The scikit-learn estimators on answers that are known, and on wrong input."""

import contextlib

import jax
import numpy as np
import pytest
from scipy.stats import binomtest, norm

from jensen.core import InputError, UnknownName
from jensen.gp import GPClassifier, GPRegressor
from jensen.gp.kernels import RBF, Constant, Coregion, Linear, Matern32, kernel, with_tasks
from jensen.progress import Silent


class Counted(Silent):
    """Notes at which step a run has arrived."""

    def __init__(self, seen):
        self.seen = seen

    def update(self, moment):
        self.seen.append(moment.step)


def waves(n=60, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-3, 3, (n, 1))
    return x, np.sin(2 * x[:, 0]) + 0.1 * rng.normal(size=n)


def test_fixed_hyperparameters_give_the_textbook_posterior():
    x, y = waves(20)
    fitted = GPRegressor(RBF(0.7, 1.5), noise=0.05, optimise=False, normalize_y=False).fit(x, y)
    new = np.linspace(-3, 3, 7)[:, None]

    def k(a, b):
        return 1.5 * np.exp(-0.5 * ((a - b.T) / 0.7) ** 2)

    gain = k(new, x) @ np.linalg.inv(k(x, x) + 0.05 * np.eye(20))
    mean, cov = fitted.predict(new, return_cov=True)
    np.testing.assert_allclose(mean, gain @ y, atol=1e-9)
    np.testing.assert_allclose(cov, k(new, new) - gain @ k(x, new), atol=1e-9)
    _, std = fitted.predict(new, return_std=True)
    np.testing.assert_allclose(std, np.sqrt(np.diag(cov)), atol=1e-9)
    _, wide = fitted.predict(new, return_std=True, noise=True)
    np.testing.assert_allclose(wide**2, std**2 + 0.05, atol=1e-9)
    # joint draws have these moments: five standard errors
    draws = fitted.sample_y(new, 4000, random_state=1)
    assert draws.shape == (7, 4000)
    assert np.all(np.abs(draws.mean(1) - mean) < 5 * std / np.sqrt(4000) + 1e-9)
    assert np.all(np.abs(np.cov(draws) - cov) < 5 * np.outer(std, std) * np.sqrt(2 / 4000) + 1e-9)


def test_several_outputs_by_a_coregion_kernel():
    """Rows (x, task): the textbook's posterior; trained, one output tells of the other where that was not seen."""
    seen, other = np.linspace(-3, 3, 20), np.linspace(-3, -1, 6)
    rows = with_tasks([seen, other])
    y = np.concatenate([np.sin(seen), 0.5 * np.sin(other)])
    mixing, kappa = np.array([[1.0], [0.6]]), np.array([0.1, 0.2])
    kernel = Coregion(RBF(1.0, 1.0), mixing, kappa)
    fitted = GPRegressor(kernel, noise=0.01, optimise=False, normalize_y=False).fit(rows, y)
    new = with_tasks([np.linspace(-2, 2, 3)] * 2)

    def k(a, b):
        between = mixing @ mixing.T + np.diag(kappa)
        tasks = between[a[:, 1].astype(int)][:, b[:, 1].astype(int)]
        return tasks * np.exp(-0.5 * (a[:, :1] - b[:, 0]) ** 2)

    truth = k(new, rows) @ np.linalg.solve(k(rows, rows) + 0.01 * np.eye(26), y)
    np.testing.assert_allclose(fitted.predict(new), truth, atol=1e-8)
    trained = GPRegressor(kernel).fit(rows, y)
    unseen = np.linspace(0, 3, 7)
    mean = trained.predict(np.stack([unseen, np.ones(7)], 1))
    assert np.max(np.abs(mean - 0.5 * np.sin(unseen))) < 0.15


def test_training_finds_the_mode_and_beats_the_start():
    x, y = waves()
    start = GPRegressor(optimise=False).fit(x, y)
    trained = GPRegressor(num_starts=2).fit(x, y)
    assert trained.log_evidence_ > start.log_evidence_ + 5
    assert trained.score(x, y) > 0.95
    assert 0.05 < np.sqrt(trained.noise_) * np.std(y) < 0.2  # the noise of the data is 0.1
    assert trained.representation_.startswith("exact: 60")


def test_inducing_points_come_close_to_the_exact_posterior():
    x, y = waves(200)
    exact = GPRegressor().fit(x, y)
    sparse = GPRegressor(representation="inducing", num_inducing=25).fit(x, y)
    new = np.linspace(-3, 3, 50)[:, None]
    a, b = exact.predict(new, return_std=True), sparse.predict(new, return_std=True)
    assert np.max(np.abs(a[0] - b[0])) < 0.02
    assert np.max(np.abs(a[1] - b[1])) < 0.02
    assert "25 points" in sparse.representation_


@pytest.mark.parametrize("kind", ["exact", "inducing"])
def test_many_predictions_are_made_some_at_a_time_and_pass_over_the_data_once(kind, monkeypatch):
    from jensen.gp import _prediction

    x, y = waves(60)
    fitted = GPRegressor(representation=kind, num_inducing=12, steps=20).fit(x, y)
    new = np.linspace(-3, 3, 100)[:, None]
    at_once = fitted.predict(new, return_std=True)
    monkeypatch.setattr(_prediction, "AT_ONCE", 32)
    with monkeypatch.context() as patched:
        patched.setattr(_prediction, "_conditioned", None)  # it is not asked again
        in_parts = fitted.predict(new, return_std=True)
    for a, b in zip(at_once, in_parts, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-10)
    again = fitted.fit(x[:40], y[:40]).predict(new)  # and what was held is forgotten
    np.testing.assert_allclose(again, fitted.fit(x[:40], y[:40]).predict(new), atol=1e-12)
    assert np.max(np.abs(again - at_once[0])) > 1e-6


def test_intervals_of_data_from_the_model_cover():
    """90 % intervals of new observations, hyperparameters known: binomial at a false alarm of 1e-6."""
    inside = total = 0
    for seed in range(5):
        rng = np.random.default_rng(seed)
        x = rng.uniform(-3, 3, (120, 1))
        cov = np.asarray(RBF(0.8, 1.0)(x, x)) + 0.05 * np.eye(120)
        y = rng.multivariate_normal(np.zeros(120), cov)
        fitted = GPRegressor(RBF(0.8, 1.0), noise=0.05, optimise=False, normalize_y=False).fit(x[:100], y[:100])
        mean, std = fitted.predict(x[100:], return_std=True, noise=True)
        inside += int(np.sum(np.abs(y[100:] - mean) < norm.ppf(0.95) * std))
        total += 20
    assert binomtest(inside, total, 0.9).pvalue > 1e-6


def test_hyperparameters_by_fit_come_with_a_certificate():
    import jensen as jn

    x, y = waves(30)
    fitted = GPRegressor(hyperparameters=lambda target, key: jn.fit(target, key=key, progress=False)).fit(x, y)
    assert fitted.certificate_.passed
    assert len(fitted._trees) == 16
    mean, std = fitted.predict(x, return_std=True, noise=True)
    assert np.mean(np.abs(y - mean) < 3 * std) > 0.9


@contextlib.contextmanager
def few_rows():
    """Five blocks of 32 rows where there are 150, and training that begins on two of them."""
    from jensen.gp import _collapsed, _representation

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(_collapsed, "BLOCK", 32)
        monkeypatch.setattr(_representation, "FEW", 60)
        monkeypatch.setattr(_representation, "SHARE", 1)
        jax.clear_caches()  # a program of these shapes may know another size of a block
        yield
    jax.clear_caches()


@pytest.mark.parametrize("num_starts", [1, 2])
def test_training_that_begins_on_some_rows_ends_at_the_mode_of_all(num_starts):
    """Also of the prior: its centre is where the hyperparameters began, not where the first rows led them."""
    x, y = waves(150)
    settings = {"representation": "inducing", "num_inducing": 8, "prior_scale": 0.3}
    with few_rows():
        in_stages = GPRegressor(num_starts=num_starts, **settings).fit(x, y)
    at_once = GPRegressor(**settings).fit(x, y)
    assert in_stages.log_evidence_ == pytest.approx(at_once.log_evidence_, abs=0.01)
    for name in ("kernel.lengthscale[0]", "kernel.variance", "noise"):
        # runs stop within 0.03 of a posterior standard deviation, which a prior scale of 0.3 bounds
        assert np.log(in_stages.hyperparameters_[name] / at_once.hyperparameters_[name]) == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize("settings", [{"steps": 7}, {"steps": 7, "num_starts": 2}, {"steps": 63}])
def test_steps_are_limited_and_the_evidence_is_that_of_all_rows(settings):
    x, y = waves(150)
    seen = []
    few = GPRegressor(representation="inducing", num_inducing=8, progress=Counted(seen), random_state=1, **settings)
    with few_rows():
        fitted = few.fit(x, y)
    assert max(seen) <= settings["steps"]
    with jax.enable_x64(True):
        there = fitted._model.at(fitted._trees[0])
        assert fitted.log_evidence_ == pytest.approx(float(there.log_evidence()), abs=1e-9)
        assert float(there.noise) == pytest.approx(fitted.noise_)


def test_a_posterior_of_hyperparameters_leaves_the_inducing_points_alone():
    import jensen as jn

    seen = []

    def fit(target, key):
        seen.append(target.space.dimension)
        return jn.run(jn.algorithms.Laplace(), target, key=key, progress=False)

    x, y = waves(80)
    fitted = GPRegressor(representation="inducing", num_inducing=10, hyperparameters=fit, num_draws=3).fit(x, y)
    assert seen == [3]
    assert np.all(np.isfinite(fitted.predict(x)))


def test_classifier_separates_and_is_unsure_in_between():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(-2, 0.5, (20, 1)), rng.normal(2, 0.5, (20, 1))])
    labels = np.repeat(["left", "right"], 20)
    fitted = GPClassifier().fit(x, labels)
    p = fitted.predict_proba([[-2.0], [2.0], [0.0]])
    np.testing.assert_allclose(p.sum(1), 1)
    assert list(fitted.predict([[-2.0], [2.0]])) == ["left", "right"]
    assert p[0, 0] > 0.9
    assert p[1, 1] > 0.9
    assert 0.2 < p[2, 0] < 0.8


@pytest.mark.parametrize(
    ("text", "words"),
    [("matern53", "matern52"), ("rbf +", "cannot be read"), ("rbf - linear", "only names"), ("rbf(2)", "only names")],
)
def test_kernels_that_cannot_be_read(text, words):
    with pytest.raises((InputError, UnknownName), match=words):
        kernel(text)


def test_kernels_from_text_are_sums_and_products():
    x = np.random.default_rng(0).normal(size=(6, 2))
    parts = kernel("matern32 * linear + constant")
    by_hand = Matern32()(x, x) * Linear()(x, x) + Constant()(x, x)
    np.testing.assert_allclose(parts(x, x), by_hand, rtol=1e-5)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"noise": -1.0}, "noise must be positive"),
        ({"representation": "sparse"}, "'auto' or one of 'exact', 'state_space', 'vecchia', 'inducing'"),
        ({"representation": "state_space", "kernel": "rbf"}, "RBF has no finite state-space form"),
        ({"num_starts": 0}, "num_starts"),
        ({"num_inducing": 0}, "num_inducing"),
        ({"kernel": RBF(-1.0)}, "kernel.lengthscale must be positive"),
    ],
)
def test_wrong_settings(settings, words):
    with pytest.raises(InputError, match=words):
        GPRegressor(**settings).fit(*waves(5))


def test_constant_targets_and_repeated_inputs_are_answered():
    x = np.zeros((6, 1))
    fitted = GPRegressor().fit(x, np.full(6, 3.0))
    np.testing.assert_allclose(fitted.predict([[0.0]]), 3.0, atol=1e-6)
    many = GPRegressor().fit(np.repeat([[0.0], [1.0]], 3, 0), [0.0, 0.1, -0.1, 2.0, 2.1, 1.9])
    assert np.all(np.isfinite(many.predict([[0.5]])))


@pytest.mark.parametrize(("x", "y", "words"), [(1e200, 1.0, "X holds 1e"), (1.0, -1e200, "y holds 1e")])
def test_numbers_whose_squares_overflow_are_refused(x, y, words):
    with pytest.raises(InputError, match=words.replace("+", ".")):
        GPRegressor().fit(x * np.arange(1.0, 4.0)[:, None] / 3, y * np.arange(1.0, 4.0) / 3)
    if x > 1:
        with pytest.raises(InputError, match=words):
            GPClassifier().fit(x * np.arange(1.0, 4.0)[:, None] / 3, [0, 1, 0])


def test_a_single_class_is_refused():
    with pytest.raises(InputError, match="one class"):
        GPClassifier().fit(np.zeros((3, 1)), [1, 1, 1])


def test_flags_of_the_caller_do_not_matter():
    x, y = waves(20)
    with jax.enable_x64(False):
        single = GPRegressor(RBF(1.0, 1.0)).fit(x, y).predict(x)
    with jax.enable_x64(True):
        double = GPRegressor(RBF(1.0, 1.0)).fit(x, y).predict(x)
    assert single.dtype == np.float64
    np.testing.assert_allclose(single, double, atol=1e-10)
