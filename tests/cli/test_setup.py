"""What the command sets for its process, and what it leaves as the user has it."""

import os

import pytest

from jensen._cli import setup
from jensen._cli.setup import HASTE, ONE_THREAD, compile_in_haste, never_wait


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


@pytest.mark.parametrize(
    ("jaxlib", "before", "after"),
    [
        ("0.10.2", None, " ".join(HASTE)),
        ("0.10.2", "--xla_a=b", " ".join(("--xla_a=b", *HASTE))),
        ("0.10.2", f"--xla_backend_optimization_level=3 {HASTE[1]}", f"--xla_backend_optimization_level=3 {HASTE[1]}"),
        ("0.10.2", "/etc/xla_flags", "/etc/xla_flags"),
        ("0.11.0", "", ""),
    ],
)
def test_haste_leaves_flags_of_the_user_and_of_later_versions(monkeypatch, jaxlib, before, after):
    monkeypatch.setattr("importlib.metadata.version", lambda name: jaxlib)
    monkeypatch.setenv("XLA_FLAGS", before or "")
    if before is None:
        monkeypatch.delenv("XLA_FLAGS")
    compile_in_haste()
    assert os.environ.get("XLA_FLAGS", "") == after
    compile_in_haste()
    assert os.environ.get("XLA_FLAGS", "") == after
