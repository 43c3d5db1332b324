"""What is told of a run: exact rates, what is not known is not said, and listening changes nothing."""

import io
import json
import math
import os
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jensen as jn
from jensen.core import Certificate, Check, InputError, StorageError
from jensen.progress import (
    FILE,
    Bar,
    JsonLines,
    Moment,
    Progress,
    Several,
    Silent,
    Teller,
    TensorBoard,
    _moment,
    listener,
)
from jensen.progress._bar import describe, duration

TARGET = jn.targets.from_log_density(lambda z: -0.5 * jnp.sum(z["a"] ** 2), {"a": jnp.zeros(2)})
CHECK = Check("k-hat", 0.3, float("inf"), 0.7, True, "far modes", True)


class Heard:
    def __init__(self):
        self.moments, self.certificates, self.closed = [], [], 0

    def update(self, moment):
        self.moments.append(moment)

    def certified(self, run, certificate):
        self.certificates.append((run, certificate))

    def close(self):
        self.closed += 1


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 100.0

    monkeypatch.setattr(_moment.time, "perf_counter", lambda: Clock.now)
    return Clock


def test_the_rate_leaves_compilation_out_and_the_time_left_follows(clock):
    heard = Heard()
    teller = Teller(heard, "X", began=98.0)
    for after, step in ((0, 0), (30, 10), (2, 30), (3, 45)):  # the first chunk compiled for half a minute
        clock.now += after
        teller.tell(step, 100)
    first, second, third, fourth = heard.moments
    assert first.rate is first.left is second.rate is second.left is None
    assert third.rate == 20 / 2
    assert third.left == 70 / 10
    assert fourth.rate == 35 / 5
    assert fourth.left == 55 / 7
    assert fourth.seconds == 37.0
    assert math.isnan(first.objective)


def test_the_rate_is_of_the_last_chunks_and_a_limit_of_time_counts(clock):
    heard = Heard()
    teller = Teller(heard, "X", began=100.0, time_limit=120.0)
    for i in range(60):
        clock.now += 1.0 if i < 30 else 2.0
        teller.tell(10 * i, 10**6)
    assert heard.moments[-1].rate == 10 / 2
    assert heard.moments[-1].left == 120.0 - (clock.now - 100.0)


@pytest.mark.parametrize(
    ("moment", "words"),
    [
        (Moment("X", 0, 9, 3.0), "compiling"),
        (Moment("X", 3, 9, 3.0, objective=1.5), "objective 1.5"),
        (
            Moment("X", 3, 9, 3.0, 1234.5, 65.0, 1.5, words="7 rows/s"),
            "1,234 steps/s, 1:05 left, objective 1.5, 7 rows/s",
        ),
    ],
)
def test_the_words_of_the_bar(moment, words):
    assert describe(moment) == words


def test_durations():
    assert [duration(s) for s in (0.2, 59.4, 60.0, 3599.6, 36e3)] == ["0 s", "59 s", "1:00", "1:00:00", "10:00:00"]


def test_the_bar_shows_itself_while_nothing_is_told(monkeypatch, capsys):
    bar = Bar(delay=0.01)
    bar.update(Moment("[red]X", 0, 9, 0.0))
    end = time.monotonic() + 20
    while bar.bar is None and time.monotonic() < end:
        time.sleep(0.01)
    assert bar.bar.tasks[0].fields["words"] == "compiling"
    bar.update(Moment("[red]X", 4, 9, 1.0, rate=2.0, left=2.5))
    assert bar.bar.tasks[0].completed == 4
    bar.close()
    bar.close()
    assert bar.bar is None


def test_listening_changes_no_bit_and_hears_every_chunk():
    def go(progress):
        method, key = jn.algorithms.GradientVI(), jax.random.key(0)
        return jn.run(method, TARGET, key=key, steps=25, chunk=10, certify=False, progress=progress)

    heard = Heard()
    silent, told = go(False), go(heard)
    np.testing.assert_array_equal(silent.runs[0].history.objective, told.runs[0].history.objective)
    assert [m.step for m in heard.moments] == [0, 10, 20, 25]
    assert {m.total for m in heard.moments} == {25}
    assert [m.rate is None for m in heard.moments] == [True, True, False, False]
    ends = told.runs[0].history.objective[[9, 19, 24]]
    np.testing.assert_array_equal([m.objective for m in heard.moments[1:]], ends)
    assert all(m.memory > 2**20 for m in heard.moments)
    assert heard.closed == 1
    assert heard.certificates == []


def test_the_autopilot_tells_of_each_run_and_its_certificate():
    heard = Heard()
    fit = jn.fit(TARGET, key=jax.random.key(0), progress=heard)
    assert [run for run, _ in heard.certificates] == [run.algorithm for run in fit.runs]
    assert heard.certificates[-1][1].passed is fit.certificate.passed
    assert heard.closed >= len(fit.runs)


@pytest.mark.parametrize("wrong", ["yes", 1, object(), Heard, lambda t: None])
def test_who_listens_is_checked_at_the_door(wrong):
    with pytest.raises(InputError, match="progress must be"):
        listener(wrong)


def test_what_progress_may_be(monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert isinstance(listener(None), Bar)
    assert isinstance(listener(True), Bar)
    assert isinstance(listener(False), Silent)
    for one in (Heard(), Several(), JsonLines(io.StringIO())):
        assert isinstance(one, Progress)
        assert listener(one) is one


def lines(text):
    def refuse(constant):
        raise AssertionError(constant)

    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def test_lines_are_strict_json_of_the_documented_form():
    out = io.StringIO()
    log = JsonLines(out, interval=0.0)
    log.update(Moment("X\n\x1b", 0, 9, 1.0))
    log.update(Moment("X\n\x1b", 9, 9, 2.0, 3.0, 0.0, float("inf"), float("nan"), 5, None, ("a\nnote",)))
    log.close()
    log.certified("X\n\x1b", Certificate((CHECK,), khat=0.3, elbo=float("nan")))
    log.update(Moment("Y", 0, 9, 0.0, notes=("other",)))
    first, second, end, certificate, third = lines(out.getvalue())
    assert [line["event"] for line in (first, second, end, certificate, third)] == [
        *("step", "step", "end", "certificate", "step")
    ]
    assert [line["number"] for line in (first, second, end, certificate, third)] == [1, 1, 1, 1, 2]
    assert second | {"time": 0} == {
        **{
            "time": 0,
            "event": "step",
            "number": 1,
            "run": "X\n\x1b",
            "step": 9,
            "total": 9,
            "seconds": 2.0,
            "rate": 3.0,
        },
        **{"left": 0.0, "objective": None, "residual": None, "memory": 5, "device_memory": None, "notes": ["a\nnote"]},
    }
    assert certificate["passed"] is True
    assert certificate["elbo"] is None
    assert certificate["checks"] == [
        {"name": "k-hat", "value": 0.3, "standard_error": None, "threshold": 0.7, "holds": True}
    ]
    assert third["notes"] == ["other"]
    assert out.getvalue().isascii()


def test_a_log_grows_with_the_logarithm_of_time(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    out = io.StringIO()
    log = JsonLines(out, interval=0.25, share=1e-3)
    for step in range(200_000):  # about two days and a half
        now[0] += 1.0
        log.update(Moment("X", step, 10**6, now[0]))
    log.close()
    steps = [line["step"] for line in lines(out.getvalue()) if line["event"] == "step"]
    assert steps[0] == 0
    assert steps[-1] == 199_999
    # one a second up to 1,000 s, then one in a thousandth of the time so far, rounded up: at most 1000 (1 + log(200))
    assert 1000 * (1 + math.log(200)) * 0.6 < len(steps) < 1000 * (1 + math.log(200)) * 1.05


def test_a_disk_that_fills_up_stops_the_log_and_not_the_run(tmp_path, monkeypatch):
    log = JsonLines(tmp_path / "a" / FILE, interval=0.0)
    log.update(Moment("X", 0, 9, 0.0))

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "open", full)
    with pytest.warns(UserWarning, match="the run goes on"):
        log.update(Moment("X", 1, 9, 0.0))
    log.update(Moment("X", 2, 9, 0.0))
    monkeypatch.undo()
    assert [line["step"] for line in lines((tmp_path / "a" / FILE).read_text())] == [0]


def test_a_log_that_cannot_be_begun_is_one_error_before_the_first_step(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="Cannot write"):
        JsonLines(tmp_path / "file" / FILE).update(Moment("X", 0, 9, 0.0))


def test_a_log_is_not_written_through_a_link(tmp_path):
    (tmp_path / "mine").write_text("mine")
    (tmp_path / FILE).symlink_to(tmp_path / "mine")
    JsonLines(tmp_path / FILE).update(Moment("X", 0, 9, 0.0))
    assert (tmp_path / "mine").read_text() == "mine"
    assert not (tmp_path / FILE).is_symlink()


def test_the_folder_of_a_checkpoint_has_a_log(tmp_path):
    method, key = jn.algorithms.GradientVI(), jax.random.key(0)
    options = dict(key=key, chunk=10, certify=False, checkpoint=tmp_path)
    jn.run(method, TARGET, steps=25, **options)
    first = lines((tmp_path / FILE).read_text())
    assert first[0]["step"] == 0
    assert first[-2]["step"] == 25
    assert first[-1]["event"] == "end"


def test_tensorboard_reads_what_was_told(tmp_path):
    board = TensorBoard(tmp_path)
    method, key = jn.algorithms.GradientVI(), jax.random.key(0)
    jn.run(method, TARGET, key=key, steps=20, chunk=10, certify=False, progress=board)
    board.certified("GradientVI", Certificate((CHECK,), khat=0.3))
    board.writer.close()
    content = b"".join(p.read_bytes() for p in tmp_path.iterdir())
    for words in (
        b"1-GradientVI/objective",
        b"1-GradientVI/memory_gigabytes",
        b"certificate/passed",
        b"certificate/khat",
    ):
        assert words in content


def test_without_its_library_the_export_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(InputError, match=r"pip install 'jensen\[tensorboard\]'"):
        TensorBoard(tmp_path)
