"""The loop's guard, limits and plateau, with small algorithms whose every step is known."""

import time
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen._run import Plateau, drive
from jensen.core import (
    Algorithm,
    InputError,
    LogDensity,
    MissingCapability,
    PointPosterior,
    Scalar,
    StopCode,
    make_step,
    scalar_field,
)
from jensen.targets import from_log_density

TARGET = from_log_density(lambda z: -0.5 * jnp.sum(z**2), jnp.zeros(2))
KEY = jax.random.key(0)


class Walk(eqx.Module):
    """A point that an algorithm moves."""

    z: Any


class Scripted(Algorithm):
    """z <- z + rate, with objective 100 while t < bad_at and `bad` from then on, unless the rate was made small."""

    needs: ClassVar[Any] = LogDensity
    gives: ClassVar[type] = PointPosterior
    rate: Scalar = scalar_field(1.0)
    bad: Scalar = scalar_field(100.0)
    poison: Scalar = scalar_field(0.0)
    cooling: float = eqx.field(static=True, default=0.0)
    careful: bool = eqx.field(static=True, default=True)

    @property
    def cooldown(self) -> float:
        return self.cooling

    def init(self, key, target, start):
        return Walk(jnp.zeros(2))

    def step(self, key, state, target, clock):
        ill = (clock.t >= 150) & (self.rate > 0.3)
        z = state.z + self.rate + jnp.where(ill & (self.poison > 0), jnp.nan, 0.0)
        return Walk(z), make_step(jnp.where(ill, self.bad, 100.0), rate=self.rate)

    def posterior(self, state, draws, space):
        return PointPosterior(space, state.z)

    def cautious(self):
        return eqx.tree_at(lambda a: a.rate, self, 0.5 * self.rate) if self.careful else None


def test_nan_is_undone_and_smaller_steps_go_on():
    outcome = drive(Scripted(poison=1.0), TARGET, key=KEY, steps=300)
    assert outcome.run.stop is StopCode.STEPS
    assert outcome.run.notes == ("NaN or infinity at step 150: went on with smaller steps",) * 2
    # 150 steps of 1, then 150 of 1/4
    np.testing.assert_allclose(outcome.posterior.z, 150 + 150 / 4)
    assert len(outcome.run.history) == 300


def test_nan_that_cannot_be_helped_is_a_code_and_the_best_state_is_kept():
    outcome = drive(Scripted(poison=1.0, careful=False), TARGET, key=KEY, steps=300)
    assert outcome.run.stop is StopCode.NON_FINITE
    assert "stopped, kept the best state, of step 100" in outcome.run.notes[0]
    np.testing.assert_allclose(outcome.posterior.z, 100.0)


def test_divergence_goes_back_to_the_best_state():
    outcome = drive(Scripted(bad=1e8), TARGET, key=KEY, steps=600)
    assert outcome.run.stop is StopCode.STEPS
    assert all("objective diverged" in note for note in outcome.run.notes)
    # back to step 100's state after step 200, again after 300 (rate 1/2), then rate 1/4 to the end
    np.testing.assert_allclose(outcome.posterior.z, 100 + 300 / 4)


@pytest.mark.parametrize("chunk", [7, 64, 100, 1000])
def test_chunk_length_changes_nothing_not_even_in_the_guard(chunk):
    want = drive(Scripted(bad=1e8), TARGET, key=KEY, steps=450)
    got = drive(Scripted(bad=1e8), TARGET, key=KEY, steps=450, chunk=chunk)
    np.testing.assert_array_equal(got.posterior.z, want.posterior.z)
    np.testing.assert_array_equal(got.run.history.objective, want.run.history.objective)
    assert got.run.notes == want.run.notes


def test_a_plateau_stops_or_cools_down():
    rule = Plateau(at_least=400)
    stopped = drive(Scripted(), TARGET, key=KEY, steps=5000, plateau=rule)
    assert (stopped.run.stop, stopped.run.steps) == (StopCode.PLATEAU, 400)
    cooled = drive(Scripted(cooling=0.2), TARGET, key=KEY, steps=5000, plateau=rule)
    assert (cooled.run.stop, cooled.run.steps) == (StopCode.PLATEAU, 500)  # 400 / (1 - 0.2)


def test_a_time_limit_ends_a_run_between_chunks():
    began = time.perf_counter()
    outcome = drive(Scripted(), TARGET, key=KEY, steps=10**9, time_limit=0.2)
    assert outcome.run.stop is StopCode.TIME
    assert time.perf_counter() - began < 60


def test_ctrl_c_keeps_the_state_so_far(monkeypatch):
    import jensen._run.work as work

    real, calls = work.program, []

    def program(*args):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(work, "program", program)
    outcome = drive(Scripted(), TARGET, key=KEY, steps=1000)
    assert outcome.run.stop is StopCode.INTERRUPTED
    np.testing.assert_allclose(outcome.posterior.z, 200.0)


def test_what_does_not_fit_is_refused_at_the_door():
    for arguments, words in (
        ({"steps": -1}, "steps must be a positive whole number, got -1"),
        ({"steps": 2.5}, "steps must be a positive whole number"),
        ({"time_limit": 0}, "time_limit must be a positive number"),
        ({"chunk": 0}, "chunk must be a positive whole number"),
        ({"start": PointPosterior(from_log_density(jnp.sum, jnp.zeros(3)).space, jnp.zeros(3))}, "3 unconstrained"),
    ):
        with pytest.raises(InputError, match=words):
            drive(Scripted(), TARGET, key=KEY, **arguments)
    with pytest.raises(InputError, match="must be an instance of a Jensen algorithm"):
        drive("nuts", TARGET, key=KEY)
    with pytest.raises(MissingCapability, match="A target is wanted, got dict"):
        drive(Scripted(), {}, key=KEY)
