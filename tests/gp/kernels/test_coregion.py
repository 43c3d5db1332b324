import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tinygp.kernels import Constant

from jensen.core import InputError, Sites
from jensen.gp import Exact, Hyperparameters
from jensen.gp.kernels import Coregion, Matern32, Matern52, with_tasks
from jensen.gp.priors import Dense, Grid, Mixed

RNG = np.random.default_rng(0)
W, KAPPA = RNG.normal(size=(3, 2)), np.array([0.3, 0.1, 0.7])
B = W @ W.T + np.diag(KAPPA)
X = RNG.uniform(0, 3, size=(5, 2))
ROWS = with_tasks([X] * 3)


def test_rows_of_all_outputs_have_the_kronecker_covariance():
    base = Matern52(1.0, 1.3)
    kernel = Coregion(base, W, KAPPA)
    truth = np.kron(B, np.asarray(base(X, X)))
    np.testing.assert_allclose(kernel(ROWS, ROWS), truth, atol=1e-12)
    np.testing.assert_allclose(kernel(ROWS), np.diag(truth), atol=1e-12)
    np.testing.assert_allclose((kernel + kernel)(ROWS, ROWS), 2 * truth, atol=1e-12)  # row by row
    np.testing.assert_allclose(kernel.evaluate(ROWS[7], ROWS[3]), truth[7, 3], atol=1e-12)


def test_a_sum_is_the_model_that_mixed_priors_hold():
    kernels = [Matern52(1.0, 1.3), Matern32(0.8, 0.7)]
    mixed = Mixed(Dense(kernels, X), W)
    weights = jax.jacobian(lambda z: mixed.from_white(z)[0].T.reshape(-1))(jnp.zeros(10))
    rows = sum(Coregion(k, W[:, [j]], 1e-12) for j, k in enumerate(kernels))
    np.testing.assert_allclose(rows(ROWS, ROWS), weights @ weights.T, atol=1e-8)


def test_tasks_may_be_an_axis_of_a_grid():
    t, base = np.linspace(0, 2, 4), Matern52(1.0, 1.3)
    grid = Grid((Coregion(Constant(1.0), W, KAPPA), base), (np.arange(3), t))
    sites = Sites(jnp.asarray(RNG.normal(size=(12, 1))), jnp.ones((12, 1, 1)))
    found, dense = grid.condition(sites), Dense(Coregion(base, W, KAPPA), with_tasks([t] * 3)).condition(sites)
    np.testing.assert_allclose(found.mean, dense.mean, atol=1e-7)
    np.testing.assert_allclose(found.log_normaliser, dense.log_normaliser, atol=1e-6)


def test_outputs_observed_at_different_inputs_help_each_other():
    """Two outputs of correlation 1: the second is known where only the first was seen."""
    seen, other = np.linspace(0, 3, 12), np.array([0.5])
    rows = with_tasks([seen, other])
    y = np.concatenate([np.sin(seen), 2 * np.sin(other)])
    model = Exact(Coregion(Matern52(1.0), [[1.0], [2.0]], 1e-6), 1e-4, rows, y)
    new = with_tasks([[2.2], [2.2]])
    np.testing.assert_allclose(model.predict(new)[0], [np.sin(2.2), 2 * np.sin(2.2)], atol=0.02)


def test_the_mixing_is_real_and_kappa_positive():
    parts = Hyperparameters(Coregion(Matern52([1.0, 2.0]), -np.ones((2, 1)), [0.5, 2.0]))
    np.testing.assert_allclose(parts.theta, [0, np.log(2), 0, -1, -1, np.log(0.5), np.log(2)])
    assert parts.names[-4:] == ("mixing[0, 0]", "mixing[1, 0]", "kappa[0]", "kappa[1]")


def test_bad_tasks_and_shapes_do_not_pass():
    kernel = Coregion(Matern52(), W, KAPPA)
    assert np.isnan(kernel(jnp.asarray([[0.0, 3.0]]), ROWS[:, 1:])).all()
    assert np.isfinite(kernel(jnp.asarray([[0.0, 1.8]]), ROWS[:, 1:])).all()  # an inducing point between two
    with pytest.raises(InputError, match="same number of columns"):
        with_tasks([X, X[:, 0]])
    with pytest.raises(InputError, match="kappa must be one number for each of 3"):
        Coregion(Matern52(), W, [1.0, 2.0])
    with pytest.raises(InputError, match="a row for each output"):
        Coregion(Matern52(), [1.0, 2.0])
