import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jensen.core import InputError
from jensen.gp.kernels.stationary import RBF
from jensen.gp.multi_task_clusters import (
    CurveClusters,
    assignments,
    bound_of,
    cluster_curves,
    curve_bound,
    mean_processes,
    pool_curves,
    predict_curve,
)

RNG = np.random.default_rng(0)
MODEL = CurveClusters(RBF(1.5, 4.0), RBF(0.7, 0.3), noise=0.1)
GRID = np.linspace(0, 4, 9)


def curve(seen=5):
    t = np.sort(RNG.choice(GRID, seen, replace=False))
    return t, np.sin(t) + 0.3 * RNG.normal(size=seen)


LIST = [curve() for _ in range(6)]
CURVES = pool_curves(LIST, also=GRID)


def joint(curves):
    """Exact covariance of all values of one cluster: the mean process is shared, each curve has its own part."""
    t = np.concatenate([t for t, _ in curves])
    of = np.repeat(np.arange(len(curves)), [len(t) for t, _ in curves])
    mean, own = (np.asarray(k(jnp.asarray(t), jnp.asarray(t))) for k in (MODEL.mean_kernel, MODEL.task_kernel))
    return t, np.concatenate([y for _, y in curves]), mean + own * (of[:, None] == of) + 0.1 * np.eye(len(t))


def test_grid_holds_every_value_in_its_place():
    for i, (t, y) in enumerate(LIST):
        at = np.flatnonzero(CURVES.observed[i])
        np.testing.assert_allclose(CURVES.grid[at, 0], t)
        np.testing.assert_allclose(CURVES.values[i, at], y)


def test_one_cluster_is_exact_conditioning_and_its_bound_the_evidence():
    tau = jnp.ones((6, 1))
    t, y, cov = joint(LIST)
    k = np.asarray(MODEL.mean_kernel(jnp.asarray(GRID), jnp.asarray(t)))
    q = mean_processes(MODEL, CURVES, tau)
    np.testing.assert_allclose(q.mean[0], k @ np.linalg.solve(cov, y), atol=1e-8)
    prior = np.asarray(MODEL.mean_kernel(jnp.asarray(GRID), jnp.asarray(GRID)))
    np.testing.assert_allclose(q.cov[0], prior - k @ np.linalg.solve(cov, k.T), atol=1e-8)
    evidence = scipy.stats.multivariate_normal(np.zeros(len(y)), cov).logpdf(y)
    np.testing.assert_allclose(curve_bound(MODEL, CURVES, tau), evidence, atol=1e-7)


def test_prediction_of_a_new_curve_is_exact_for_one_cluster():
    found = cluster_curves(MODEL, CURVES, jnp.ones((6, 1)), steps=1)
    new = curve(4)
    pooled = pool_curves([new], also=GRID)
    prediction = predict_curve(MODEL, CURVES.grid, found, pooled.values[0], pooled.observed[0])
    t, y, cov = joint([*LIST, new])
    rest = np.setdiff1d(np.arange(9), np.flatnonzero(pooled.observed[0]))
    mean, own = (np.asarray(k(jnp.asarray(GRID[rest]), jnp.asarray(t))) for k in (MODEL.mean_kernel, MODEL.task_kernel))
    cross = mean + own * (np.arange(len(t)) >= len(t) - 4)
    truth = cross @ np.linalg.solve(cov, y)
    np.testing.assert_allclose(prediction.mean[rest], truth, atol=1e-7)
    variance = 4.0 + 0.3 + 0.1 - np.sum(cross * np.linalg.solve(cov, cross.T).T, axis=1)
    np.testing.assert_allclose(prediction.variance[rest], variance, atol=1e-7)


def test_no_half_step_lowers_the_bound():
    tau = jnp.asarray(RNG.dirichlet(np.ones(3), size=6))
    weights, q = jnp.ones(3) / 3, mean_processes(MODEL, CURVES, jnp.ones((6, 3)) / 3)
    values = [bound_of(MODEL, CURVES, tau, weights, q)]
    for _ in range(8):
        q = mean_processes(MODEL, CURVES, tau)
        values.append(bound_of(MODEL, CURVES, tau, weights, q))
        weights = jnp.mean(tau, axis=0)
        values.append(bound_of(MODEL, CURVES, tau, weights, q))
        tau = assignments(MODEL, CURVES, weights, q)
        values.append(bound_of(MODEL, CURVES, tau, weights, q))
    assert np.min(np.diff(np.array(values))) > -1e-8
    assert values[-1] - values[0] > 1


def test_clusters_that_are_apart_are_found():
    shifts = np.array([0, 5, 0, 5, 5, 0])
    curves = pool_curves([(t, y + s) for (t, y), s in zip(LIST, shifts, strict=True)], also=GRID)
    tau = cluster_curves(MODEL, curves, jnp.asarray(0.5 + 0.1 * (shifts[:, None] == np.array([0, 5]))), steps=20).tau
    np.testing.assert_allclose(tau[:, 1], shifts / 5, atol=1e-6)


def test_bad_curves_are_refused():
    for curves, words in [
        ([], "No curve"),
        ([(np.ones(2), np.zeros(3))], "inputs"),
        ([(np.array([0.0, 1.0]), np.array([0.0, np.nan]))], "NaN"),
        ([(np.array([1.0, 1.0]), np.zeros(2))], "twice"),
        ([(np.array([1.0]), np.zeros(1)), (np.ones((1, 2)), np.zeros(1))], "one dimension"),
    ]:
        with pytest.raises(InputError, match=words):
            pool_curves(curves)
