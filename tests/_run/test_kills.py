"""`kill -9` and SIGTERM of real processes, the command's too; `make reliability` runs the long form."""

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from jensen_bench.reliability.forks import Server
from jensen_bench.reliability.kills import killed

import jensen as jn
from jensen._run.lock import Lock
from jensen.core import StorageError

CACHE = str(Path(__file__).parents[2] / ".jax_cache")
PATIENCE = 240.0


@pytest.fixture(scope="module")
def server():
    with Server({"JAX_COMPILATION_CACHE_DIR": CACHE}) as server:
        yield server


def wait_for(found) -> None:
    until = time.monotonic() + PATIENCE
    while not found():
        assert time.monotonic() < until
        time.sleep(0.002)


@pytest.mark.parametrize("name", ["GradientVI on minibatches", "NUTS", "TemperedSMC", "BatchMatch"])
def test_killed_at_random_moments_every_run_ends_with_the_same_bits(server, name):
    """Two kills each here; the long form has 100."""
    count = killed(server, [name], 2, seed=len(name))[name]
    assert count.kills == 2
    assert (count.same, count.other) == (count.same, 0)
    assert count.same >= 1


def test_the_lock_dies_with_its_process(server, tmp_path):
    child = server.start("hold", str(tmp_path / "run"), str(tmp_path / "ready"))
    wait_for((tmp_path / "ready").exists)
    with pytest.raises(StorageError, match=rf"Another run is at work .*process {child.pid} on \S+\)"):
        Lock(tmp_path / "run")
    child.kill()
    assert child.wait() == signal.SIGKILL
    with Lock(tmp_path / "run") as lock:
        assert lock.missing == ""
    (tmp_path / "run" / "lock").write_text("no JSON")
    Lock(tmp_path / "run").release()


MODEL = """
import numpyro
import numpyro.distributions as dist

def line(x, y):
    slope = numpyro.sample("slope", dist.Normal(0, 1))
    numpyro.sample("y", dist.StudentT(4, slope * x, 1), obs=y)
"""


def test_the_command_goes_on_after_sigterm_and_after_a_kill(server, tmp_path):
    """Stopped by SIGTERM (exit code 0, nothing written but the checkpoint), then killed, then finished."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(20, 2))
    (tmp_path / "data.csv").write_text("x,y\n" + "\n".join(f"{x},{y}" for x, y in rows))
    (tmp_path / "model.py").write_text(MODEL)

    def command(out: str, *more: str):
        given = [
            "--data",
            str(tmp_path / "data.csv"),
            "--method",
            "nuts",
            "--steps",
            "4000",
            "--out",
            str(tmp_path / out),
        ]
        return server.start("command", "fit", f"{tmp_path / 'model.py'}:line", *given, *more)

    assert command("whole").result() == 0
    folder = tmp_path / "stopped"
    state = folder / "checkpoint" / "state-b"
    for number, code in ((signal.SIGTERM, 0), (signal.SIGKILL, None)):
        before = state.stat().st_mtime_ns if state.exists() else None
        child = command("stopped")
        wait_for(lambda: state.exists() and state.stat().st_mtime_ns != before)  # noqa: B023
        child.kill(number)
        if code is None:
            assert child.wait() == signal.SIGKILL
        else:
            assert child.result() == code
        assert sorted(os.listdir(folder)) == ["checkpoint", "progress.jsonl"]
    assert command("stopped", "--seed", "1").result() == 2  # another run: refused, and nothing is touched
    assert command("stopped").result() == 0
    assert sorted(os.listdir(folder)) == ["arrays.npz", "fit.json", "posterior.nc", "progress.jsonl", "report.html"]
    got, want = jn.load(folder), jn.load(tmp_path / "whole")
    np.testing.assert_array_equal(got.posterior.chains, want.posterior.chains)
    np.testing.assert_array_equal(got.history.objective, want.history.objective)
    assert got.certificate == want.certificate
