"""The autopilot's checkpoints: a folder a rung, no step taken twice, the same answer to the bit."""

import os
import signal

import jax
import numpy as np
import pytest

import jensen as jn
from jensen._ladder import Rung
from jensen._run.checkpoint import Checkpoints
from jensen._run.lock import Lock
from jensen.core import StopCode, StorageError
from tests._run.breaking import Disk, full
from tests._run.walk import TARGET, Walk
from tests.killing import killed_at_save

STEPS, FIRST, SECOND = 120, 0.125, 0.0625  # more than a chunk of 100
LADDER = tuple(Rung(f"walk {rate}", lambda ascent, rate=rate: Walk(rate=rate), STEPS) for rate in (FIRST, SECOND))


def climb(checkpoint=None, **options):
    options = {"key": jax.random.key(0), "ladder": LADDER} | options
    return jn.fit(TARGET, checkpoint=checkpoint, **options)


@pytest.fixture(scope="module")
def unbroken():
    return climb()


@pytest.fixture
def steps(monkeypatch):
    """The steps that each algorithm takes from here on, by its rate."""
    from jensen._run.work import Work

    chunk, taken = Work.chunk, {}

    def counted(self, *args):
        before = self.t
        chunk(self, *args)
        rate = float(self.algorithm.rate)
        taken[rate] = taken.get(rate, 0) + self.t - before

    monkeypatch.setattr(Work, "chunk", counted)
    return taken


def assert_same(got, want):
    np.testing.assert_array_equal(got.posterior.chains, want.posterior.chains)
    assert got.certificate == want.certificate
    for a, b in zip(got.runs, want.runs, strict=True):
        np.testing.assert_array_equal(a.history.objective, b.history.objective)
        assert (a.stop, a.verdict, a.notes) == (b.stop, b.verdict, b.notes)


def test_killed_in_its_second_rung_a_fit_does_not_repeat_the_first(tmp_path, monkeypatch, unbroken, steps):
    with monkeypatch.context() as m:
        killed_at_save(m, 4)  # before and after each of the first rung's two chunks, and before the second's
        with pytest.raises(SystemExit):
            climb(tmp_path)
    assert steps == {FIRST: STEPS}
    steps.clear()
    assert_same(climb(tmp_path), unbroken)
    assert steps == {SECOND: STEPS}
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"0-walk-{FIRST}", f"1-walk-{SECOND}", "lock"]
    steps.clear()
    assert_same(climb(tmp_path), unbroken)
    assert steps == {}


def test_sigterm_ends_the_ladder_after_the_chunk(tmp_path, monkeypatch, unbroken):
    heard = []
    before = signal.signal(signal.SIGTERM, lambda *_: heard.append(1))
    try:
        with monkeypatch.context() as m:
            write = Checkpoints.save

            def save(self, *args):
                write(self, *args)
                if args[1]["t"] == 0:
                    os.kill(os.getpid(), signal.SIGTERM)

            m.setattr(Checkpoints, "save", save)
            stopped = climb(tmp_path)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [1]
    assert [run.stop for run in stopped.runs] == [StopCode.TERMINATED]
    assert not stopped.certificate.passed
    assert_same(climb(tmp_path), unbroken)


def test_a_full_disk_leaves_the_best_so_far_with_the_error(tmp_path, monkeypatch, unbroken):
    write = Checkpoints.save

    def save(self, trees, meta, records):
        if float(trees["algorithm"].rate) == SECOND and meta["t"] > 0:
            with monkeypatch.context() as m:
                Disk(m, 0, full)
                write(self, trees, meta, records)
        write(self, trees, meta, records)

    with monkeypatch.context() as m:
        m.setattr(Checkpoints, "save", save)
        with pytest.raises(StorageError, match="no space is left") as caught:
            climb(tmp_path)
    assert len(caught.value.kept.runs) == 2
    (judged,) = (run for run in unbroken.runs if run.settings["rate"] == FIRST)
    assert caught.value.kept.certificate == judged.certificate
    assert_same(climb(tmp_path), unbroken)


def test_two_fits_on_a_folder_and_another_fit_are_refused(tmp_path):
    with Lock(tmp_path), pytest.raises(StorageError, match="Another run is at work"):
        climb(tmp_path)
    climb(tmp_path, time_limit=1e-3)
    with pytest.raises(StorageError, match=r"belongs to another run: key \[\d+, \d+\] vs"):
        climb(tmp_path, key=jax.random.key(1))
