"""What machines and people do to a run: full and read-only disks, two runs on a folder, signals, clocks, NaN."""

import contextlib
import errno
import os
import random
import signal
import subprocess
import threading
import time
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests._run.breaking import Disk, full
from tests._run.walk import CHUNK, KEY, STEPS, TARGET, Walk, assert_same, walk
from tests.killing import killed_at_save

import jensen as jn
from jensen._run.checkpoint import Checkpoints
from jensen.algorithms import GradientVI
from jensen.core import StopCode, StorageError
from jensen.targets import from_log_density


@pytest.fixture(scope="module")
def unbroken():
    return walk()


@contextlib.contextmanager
def tmpfs(folder, size: int):
    """A disk of `size` bytes where this process may mount one, else None."""
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fails_and_goes_on(place, make_room, unbroken, **options):
    """The error carries the fit so far, the last checkpoint is whole; with room the run ends as if nothing had been."""
    with pytest.raises(StorageError, match=r"no space is left on the disk.*checkpoint of step \d+ is whole") as caught:
        jn.run(Walk(), TARGET, key=KEY, steps=STEPS, chunk=CHUNK, checkpoint=place, **options)
    kept = caught.value.kept
    steps = kept.runs[0].steps
    assert CHUNK <= steps <= STEPS
    np.testing.assert_array_equal(kept.history.objective, unbroken.run.history.objective[:steps])
    assert kept.certificate is None
    make_room()
    got = walk(place)
    assert_same(got, unbroken)
    assert got.run.notes == ()


def filled_at_save(monkeypatch, number: int, ballast) -> None:
    """Something else takes all space just before the save of this number."""
    write, done = Checkpoints.save, []

    def save(self, *args):
        done.append(1)
        if len(done) == number:
            with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))
        write(self, *args)

    monkeypatch.setattr(Checkpoints, "save", save)


def test_a_disk_that_fills_up_on_the_way(tmp_path, monkeypatch, unbroken):
    with tmpfs(tmp_path / "disk", 2**18) as disk:
        if disk is not None:
            ballast = disk / "ballast"
            filled_at_save(monkeypatch, 3, ballast)
            fails_and_goes_on(disk / "run", lambda: (monkeypatch.undo(), ballast.unlink()), unbroken)
    counts = []
    for steps in (5, 15):
        with monkeypatch.context() as m:
            disk = Disk(m)
            walk(tmp_path / f"{steps}", steps=steps)
            counts.append(disk.count)
    for at in range(*counts, 2):  # every other write, flush and rename of two saves
        Disk(monkeypatch, at, full)
        fails_and_goes_on(tmp_path / f"at {at}", monkeypatch.undo, unbroken)


def test_a_full_disk_is_found_before_the_first_step(tmp_path, monkeypatch):
    steps = []
    monkeypatch.setattr("jensen._run.work.Work.chunk", lambda *_: steps.append(1))
    for at in range(4):
        with monkeypatch.context() as m:
            Disk(m, at, full)
            with pytest.raises(StorageError, match="no space is left on the disk"):
                walk(tmp_path / str(at))
    assert steps == []


def test_a_place_that_cannot_be_written_to_is_named_before_anything_is_compiled(tmp_path, monkeypatch):
    def begin(*_):
        raise AssertionError("something was compiled")

    monkeypatch.setattr("jensen._run.driver.begin", begin)
    (tmp_path / "file").write_text("x")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StorageError, match="a file stands where a folder is needed"):
            walk(place)
    opened = os.open

    def read_only(path, flags, *more):
        if flags & os.O_CREAT:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return opened(path, flags, *more)

    monkeypatch.setattr(os, "open", read_only)
    with pytest.raises(StorageError, match="not writable; choose another"):
        walk(tmp_path / "below")


def test_a_disk_that_becomes_read_only_keeps_its_last_checkpoint(tmp_path, unbroken):
    """A real one, where this process may mount one: the system itself refuses, not a test double."""
    with tmpfs(tmp_path / "disk", 2**20) as disk:
        if disk is None:
            return
        walk(disk / "run", time_limit=1e-9)
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        with pytest.raises(StorageError, match="not writable"):
            walk(disk / "run")
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
        assert_same(walk(disk / "run"), unbroken)


def test_the_second_run_on_a_folder_is_refused_and_told_who_holds_it(tmp_path, unbroken):
    with Checkpoints(tmp_path, {}), pytest.raises(StorageError, match=rf"process {os.getpid()} on \S+\): wait for it"):
        walk(tmp_path)
    assert_same(walk(tmp_path), unbroken)


def test_a_file_system_without_locks_is_said_to_be_one(tmp_path, monkeypatch, unbroken):
    def flock(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("jensen._run.lock.fcntl.flock", flock)
    with pytest.warns(RuntimeWarning, match="has no locks"):
        got = walk(tmp_path)
    assert_same(got, unbroken)
    assert "would not be noticed" in got.run.notes[0]


@pytest.fixture
def handler():
    """What the program had said that SIGTERM should do: here, to take note of it."""
    heard: list[int] = []

    def own(number, frame):
        heard.append(number)

    before = signal.signal(signal.SIGTERM, own)
    yield own, heard
    signal.signal(signal.SIGTERM, before)


def terminated(monkeypatch, saves: int) -> None:
    """SIGTERM comes during the save of this number."""
    write, done = Checkpoints.save, []

    def save(self, *args):
        done.append(1)
        if len(done) == saves:
            os.kill(os.getpid(), signal.SIGTERM)
        write(self, *args)

    monkeypatch.setattr(Checkpoints, "save", save)


def test_sigterm_saves_and_hands_back_and_the_handler_is_restored(tmp_path, monkeypatch, unbroken, handler):
    own, heard = handler
    terminated(monkeypatch, 3)
    fit = jn.run(Walk(), TARGET, key=KEY, steps=STEPS, chunk=CHUNK, checkpoint=tmp_path)
    assert fit.runs[0].stop is StopCode.TERMINATED
    assert fit.runs[0].steps == 2 * CHUNK
    assert fit.certificate is None
    assert signal.getsignal(signal.SIGTERM) is own
    assert heard == [signal.SIGTERM]  # afterwards it was told
    monkeypatch.undo()
    assert_same(walk(tmp_path), unbroken)


def test_sigterm_before_the_first_step_waits_for_one_chunk(monkeypatch, handler):
    """Without a checkpoint too: what there is is handed back, and a sampler needs a draw for that."""
    from jensen._run import driver

    begin = driver.begin

    def begun(*args):
        os.kill(os.getpid(), signal.SIGTERM)
        return begin(*args)

    monkeypatch.setattr(driver, "begin", begun)
    got = walk()
    assert (got.run.stop, got.run.steps) == (StopCode.TERMINATED, CHUNK)
    assert got.posterior.chains.shape == (1, CHUNK, 2)


def test_a_second_sigterm_does_not_wait(tmp_path, monkeypatch, handler):
    _, heard = handler
    write = Checkpoints.save

    def save(self, *args):
        if not heard:
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGTERM)
            assert heard == [signal.SIGTERM]  # at once, not after the run
        write(self, *args)

    monkeypatch.setattr(Checkpoints, "save", save)
    assert walk(tmp_path).run.stop is StopCode.TERMINATED


def test_sigterm_is_left_alone_in_threads_and_where_it_is_ignored(unbroken):
    seen, results = [], []

    def work():
        seen.append(signal.getsignal(signal.SIGTERM))
        results.append(walk())

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join(300)
    assert seen == [before]
    assert_same(results[0], unbroken)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        assert_same(walk(), unbroken)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


def test_ctrl_c_keeps_what_there_is_and_the_run_can_be_gone_on_with(tmp_path, monkeypatch, unbroken):
    write, done = Checkpoints.save, []

    def save(self, *args):
        write(self, *args)
        done.append(1)
        if len(done) == 4:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Checkpoints, "save", save)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        got = walk(tmp_path)
    finally:
        signal.signal(signal.SIGINT, before)
    assert (got.run.stop, got.run.steps) == (StopCode.INTERRUPTED, 3 * CHUNK)
    monkeypatch.undo()
    assert_same(walk(tmp_path), unbroken)


def test_ctrl_c_before_the_first_step_is_ctrl_c(monkeypatch):
    def chunk(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("jensen._run.work.Work.chunk", chunk)
    with pytest.raises(KeyboardInterrupt):
        walk()


def test_a_clock_that_goes_backwards_is_never_asked(tmp_path, monkeypatch, unbroken):
    """Limits and durations come from a clock that cannot be set; the one that can jumps back an hour at each look."""
    now = [2e9]

    def jumping():
        now[0] -= 3600
        return now[0]

    monkeypatch.setattr(time, "time", jumping)
    monkeypatch.setattr(time, "time_ns", lambda: int(1e9 * jumping()))
    got = walk(tmp_path, time_limit=600)
    assert_same(got, unbroken)
    assert 0 <= got.run.seconds < 600
    stopped = walk(algorithm=Walk(rate=1e-4), steps=10**9, time_limit=0.05)
    assert stopped.run.stop is StopCode.TIME


@jax.custom_jvp
def broken(z, bad):
    """0, with a gradient of NaN where bad > 0."""
    return 0.0 * jnp.sum(z)


@broken.defjvp
def _(primals, tangents):
    return broken(*primals), jnp.where(primals[1] > 0, jnp.nan, 0.0) * jnp.sum(tangents[0])


def density(z, bad):
    return -0.5 * jnp.sum((z - 1.0) ** 2) + broken(z, bad)


class Poisoned(GradientVI):
    """GradientVI whose target's gradient is NaN in steps begin .. end - 1 while the learning rate is above a limit.

    The algorithm itself skips up to nine such steps in a row; at the tenth the loop's guard goes back.
    """

    begins: Any = None
    ends: Any = None
    limits: Any = None

    def step(self, key, state, target, clock):
        bad = jnp.any((self.begins <= clock.t) & (clock.t < self.ends) & (self.learning_rate > self.limits))
        target = eqx.tree_at(lambda t: t.args[0], target, bad.astype(jnp.result_type(float)))
        return super().step(key, state, target, clock)


@pytest.mark.parametrize("seed", range(5))
def test_nan_gradients_at_random_steps_are_undone_also_across_a_kill(tmp_path, monkeypatch, seed):
    """Three bursts that smaller steps would have avoided, and one step that nothing helps."""
    rng = random.Random(seed)
    begins = np.array([15 * place + rng.randrange(5) for place in sorted(rng.sample(range(20), 4))])
    lonely = rng.randrange(4)
    ends, limits = begins + 10, np.array([0.03, 0.03, 0.015, 0.0075])
    limits[:lonely] = limits[1 : lonely + 1]
    ends[lonely], limits[lonely] = begins[lonely] + 1, 0.0
    algorithm = Poisoned(
        learning_rate=0.04, begins=jnp.asarray(begins), ends=jnp.asarray(ends), limits=jnp.asarray(limits)
    )
    target = from_log_density(density, jnp.zeros(2), jnp.zeros(()))
    run = dict(algorithm=algorithm, target=target, key=jax.random.key(seed), steps=300, chunk=10)
    want = walk(**run)
    met = [f"NaN or infinity at step {t + 9}" for t in np.delete(begins, lonely)]
    assert [note.split(":")[0] for note in want.run.notes] == met
    assert np.isnan(want.run.history.scalars["gradient_norm"][begins[lonely]])
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(want.state))
    for number in (rng.randrange(2, 14), rng.randrange(2, 14)):
        killed_at_save(monkeypatch, number)
        with pytest.raises(SystemExit):
            walk(tmp_path, **run)
        monkeypatch.undo()
    got = walk(tmp_path, **run)
    np.testing.assert_array_equal(got.run.history.objective, want.run.history.objective)
    assert got.run.notes == want.run.notes
    for a, b in zip(jax.tree.leaves(got.state), jax.tree.leaves(want.state), strict=True):
        np.testing.assert_array_equal(a, b)
