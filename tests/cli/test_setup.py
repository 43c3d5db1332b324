"""What the command sets for its process, and what it leaves as the user has it."""

import os
import subprocess
import sys

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


def test_a_process_with_one_processor_keeps_a_pool_of_one_thread():
    program = "import os, jensen; print(os.environ.get('PJRT_NPROC'))"
    environment = {name: value for name, value in os.environ.items() if name != "PJRT_NPROC"}
    one = f"import os; os.sched_setaffinity(0, [{min(os.sched_getaffinity(0))}]); {program}"
    shown = [
        subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout.strip()
        for code, env in ((one, environment), (program, environment), (one, environment | {"PJRT_NPROC": "3"}))
    ]
    usable = len(os.sched_getaffinity(0))
    assert shown == ["None", "8" if 1 < usable < 8 else "None", "3"]
