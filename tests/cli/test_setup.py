"""What the command sets for its process, and what it leaves as the user has it."""

import os

import pytest

from jensen._cli import setup
from jensen._cli.setup import ONE_THREAD, never_wait


@pytest.mark.parametrize(
    ("processors", "jaxlib", "before", "after"),
    [
        (2, "0.10.2", None, ONE_THREAD),
        (4, "0.10.2", "--xla_a=b", f"--xla_a=b {ONE_THREAD}"),
        (5, "0.10.2", "--xla_a=b", "--xla_a=b"),
        (2, "0.11.0", "", ""),
        (2, "0.10.2", "--xla_cpu_multi_thread_eigen=true", "--xla_cpu_multi_thread_eigen=true"),
    ],
)
def test_kernels_stay_in_their_threads_where_there_are_few(monkeypatch, processors, jaxlib, before, after):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(processors)), raising=False)
    monkeypatch.setattr("importlib.metadata.version", lambda name: jaxlib)
    monkeypatch.setenv("XLA_FLAGS", "")
    if before is None:
        monkeypatch.delenv("XLA_FLAGS")
    else:
        monkeypatch.setenv("XLA_FLAGS", before)
    never_wait()
    assert os.environ["XLA_FLAGS"] == after
    never_wait()
    assert os.environ["XLA_FLAGS"] == after
    assert setup.FEW == 4
