"""Warm-up: the schedule, dual averaging, pooled moments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen.algorithms._adaptation import Dense, Diagonal, StepSize, phase
from jensen.core import Clock, as_scalar


def schedule(total, warmup):
    end = jnp.asarray(total, jnp.int32)
    return jax.vmap(lambda t: phase(Clock(t, end), as_scalar(warmup)))(jnp.arange(total, dtype=jnp.int32))


def test_schedule_of_a_thousand_steps_is_stans():
    phases = schedule(2000, 0.5)
    np.testing.assert_array_equal(np.flatnonzero(phases.window_ends) + 1, [100, 150, 250, 450, 950])
    np.testing.assert_array_equal(np.flatnonzero(phases.adapting), np.arange(1000))
    np.testing.assert_array_equal(np.flatnonzero(phases.learning), np.arange(75, 950))
    assert np.all(np.asarray(phases.num_warmup) == 1000)


@pytest.mark.parametrize("total", [7, 20, 50, 100, 300])
def test_short_schedules_end_with_step_size_alone(total):
    phases = schedule(total, 0.5)
    ends = np.flatnonzero(phases.window_ends)
    assert len(ends) >= 1
    assert ends[-1] < np.flatnonzero(phases.adapting)[-1]


def test_no_warm_up_adapts_nothing():
    phases = schedule(50, 0.0)
    assert not np.any(phases.adapting)
    assert not np.any(phases.window_ends)


@pytest.mark.parametrize("first", [1e-3, 1.0, 30.0])
def test_dual_averaging_meets_its_target(first):
    """Acceptance exp(-e) meets 0.8 at e = -log 0.8 whatever the first step."""

    def update(state, _):
        return state.update(jnp.exp(-jnp.exp(state.log_step)), as_scalar(0.8)), None

    state, _ = jax.lax.scan(update, StepSize.begin(jnp.log(as_scalar(first))), length=2000)
    # the average forgets as t^-0.75 and its own recursion is exact in the limit: 5 % after 2,000 steps
    assert float(jnp.exp(state.log_average)) == pytest.approx(-np.log(0.8), rel=0.05)


@pytest.mark.parametrize("metric", [Diagonal(), Dense()])
def test_moments_of_all_chains_are_pooled(metric):
    draws = jax.random.normal(jax.random.key(0), (30, 4, 3)) * jnp.array([1.0, 5.0, 0.1]) + 100.0
    moments = metric.empty(3)
    for row in draws:
        moments = metric.add(moments, row)
    cov = np.cov(np.asarray(draws).reshape(-1, 3), rowvar=False)
    share = 120 / 125
    expected = share * cov + (1 - share) * 1e-3 * np.eye(3)
    scale = np.asarray(metric.estimate(moments))
    product = scale @ scale.T if scale.ndim == 2 else scale**2
    np.testing.assert_allclose(product, expected if scale.ndim == 2 else np.diag(expected), rtol=1e-9)
