import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import jensen as jn
from jensen.algorithms import IVON
from jensen.core import DensityPosterior, InputError, StopCode
from jensen.families import Gaussian


def regression(n=200, d=5, noise=0.5, seed=0):
    """(target of rows, posterior mean, posterior precision) of conjugate linear regression with an N(0, I) prior."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    y = x @ rng.normal(size=d) + noise * rng.normal(size=n)
    target = jn.targets.from_rows(
        lambda b: -0.5 * jnp.sum(b**2),
        lambda b, rows: -0.5 * ((rows["y"] - rows["x"] @ b) / noise) ** 2,
        {"x": x, "y": y},
        np.zeros(d),
    )
    precision = x.T @ x / noise**2 + np.eye(d)
    return target, np.linalg.solve(precision, x.T @ y / noise**2), precision


def fit(algorithm, target, steps, seed=0, start=None):
    run = jn.run(algorithm, target, key=jax.random.key(seed), steps=steps, start=start, certify=False)
    return run.posterior.q, run


def test_recovers_conjugate_regression_from_full_rows_and_from_minibatches():
    """The exact mean, and precisions on the diagonal of the exact one, within the Monte Carlo error of twelve runs.

    The settings are those of a network: the loss is a mean over rows, whatever their number.
    """
    target, mean, precision = regression()
    truth = np.log(np.diag(precision))
    limit = scipy.stats.t.isf(5e-7, 11) / np.sqrt(12)
    for seen in (target, jn.targets.Minibatched(target, 20)):
        algorithm = IVON(learning_rate=0.05, curvature_rate=0.005, initial_curvature=4.0)
        runs = [fit(algorithm, seen, 3000, seed)[0] for seed in range(12)]
        means = np.stack([(np.asarray(q.mean) - mean) * np.sqrt(np.diag(precision)) for q in runs])
        logs = np.stack([-2 * np.asarray(q.log_scale) - truth for q in runs])
        for rows, visible in ((means, 2.0), (logs, 0.3)):
            error = limit * rows.std(0, ddof=1)
            assert np.all(np.abs(rows.mean(0)) < error)
            assert np.all(error < visible)


def test_the_retraction_biases_precision_upwards_at_a_large_rate_and_settling_takes_the_bias_out():
    """At v = 0.1 without settling the mean of h lies above the truth by v / 2 times the relative variance of c.

    On N(0, I) c = eps (m + s eps) / s has variance 2 + (m / s)^2 about the mean 1, so at least 2 (v / 2) = 0.1.
    """
    target = jn.targets.from_log_density(lambda z: -0.5 * jnp.sum(z**2), np.zeros(2000))
    start = DensityPosterior(target.space, Gaussian(jnp.zeros(2000), jnp.eye(2000)))
    biased, _ = fit(IVON(learning_rate=0.01, curvature_rate=0.1, settling=0.0), target, 300, start=start)
    settled, _ = fit(IVON(learning_rate=0.01, curvature_rate=0.1, settling=0.9), target, 1000, start=start)
    above, near = (np.mean(np.exp(-2 * np.asarray(q.log_scale))) - 1 for q in (biased, settled))
    assert above > 0.08
    assert abs(near) < 0.02


def test_precision_stays_positive_whatever_the_curvature():
    """Concave losses give negative c: h falls by at most a half a step."""
    target = jn.targets.from_log_density(lambda z: jnp.sum(0.05 * z**2 - 0.001 * z**4), np.zeros(3))
    q, run = fit(IVON(curvature_rate=0.5, learning_rate=1e-3, settling=0.0), target, 300)
    assert np.all(np.isfinite(q.log_scale))
    assert run.runs[0].stop is StopCode.STEPS


def test_the_first_step_is_a_plain_gradient_step_of_the_mean_loss():
    target, mean, precision = regression()
    point = jn.core.PointPosterior(target.space, jnp.asarray(mean + 1.0))
    settings = IVON(learning_rate=1e-3, settling=0.0, initial_curvature=1e6, num_draws=2)
    q, _ = fit(settings, target, 1, start=point)
    gradient = precision @ np.ones(5) / 200
    np.testing.assert_allclose(mean + 1.0 - q.mean, 1e-3 * gradient, rtol=1e-2)


def test_starts_from_the_spread_of_a_posterior():
    target, mean, precision = regression()
    q = Gaussian(jnp.asarray(mean), jnp.linalg.cholesky(jnp.linalg.inv(precision)))
    out, _ = fit(IVON(learning_rate=1e-6, curvature_rate=1e-6), target, 1, start=DensityPosterior(target.space, q))
    np.testing.assert_allclose(out.log_scale, 0.5 * np.log(np.diag(np.linalg.inv(precision))), atol=1e-4)


@pytest.mark.parametrize(
    "settings",
    [
        {"num_draws": 0},
        {"learning_rate": 0.0},
        {"momentum": 1.0},
        {"curvature_rate": 1.5},
        {"settling": -0.1},
        {"initial_curvature": -1.0},
        {"clip": 0.0},
    ],
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(InputError, match=f"IVON.{next(iter(settings))}"):
        IVON(**settings)


def test_nan_everywhere_after_the_start_ends_as_a_failure():
    target = jn.targets.from_log_density(lambda z: jnp.where(jnp.sum(jnp.abs(z)) < 1e9, jnp.nan, 0.0), np.zeros(2))
    point = jn.core.PointPosterior(target.space, jnp.zeros(2))
    _, run = fit(IVON(), target, 100, start=point)
    assert run.runs[0].stop is StopCode.FAILED
    assert run.runs[0].steps == 10
