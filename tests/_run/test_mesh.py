"""Runs over meshes: the same seed gives the same answer as one device."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# summing over devices in another order is all that may differ: rounding, grown by at most thirty steps
TOLERANCE = 1e-9
# as in conftest: what runs briefly is compiled without the passes that take most of the time
HASTE = (
    "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
)
PAIR = ("gradient", "batch and match", "particles", "chains", "sparse process", "autoencoder")
SINGLE = (*PAIR, "minibatches", "full rank", "low rank", "restarts", "streamed")


def started(mode, folder, *rest, devices=1):
    flags = f"--xla_force_host_platform_device_count={devices} {HASTE}"
    env = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests._run.mesh_cases", mode, str(folder), *map(str, rest)]
    return subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def said(process, timeout=600):
    try:
        out, err = process.communicate(timeout=timeout)
    finally:
        process.kill()
    assert process.returncode == 0, err[-3000:]
    return json.loads(out.splitlines()[-1])


def two(mode, folder):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    return [started(mode, folder, port, rank, devices=2) for rank in (0, 1)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("mesh")


@pytest.fixture(scope="module")
def forced(folder):
    return said(started("forced", folder, devices=8))


@pytest.fixture(scope="module")
def pair(forced, folder):
    return [said(process) for process in two("pair", folder)]


@pytest.mark.parametrize("name", SINGLE)
def test_eight_devices_give_the_answer_of_one_and_compile_once(forced, name):
    found = forced[name]
    assert found["difference"] < TOLERANCE
    assert found["compiled again"] == 0
    assert found["repeats"]
    assert found["ordinary"]


def test_the_autopilot_gives_the_same_certified_fit(forced):
    assert forced["fit"]["passed"]
    assert forced["fit"]["ordinary"]
    assert forced["fit"]["difference"] < TOLERANCE


def test_rows_factors_and_chains_lie_in_equal_parts(forced):
    layout = forced["layout"]
    filled = layout["whole"] // 203 * 208  # 203 rows filled up to 26 a device
    assert layout["rows"] == [filled // 8] * 8
    for name in ("full rank", "chains"):
        assert layout[name] == [layout[f"whole {name}"] // 8] * 8


def test_a_step_sends_what_the_cost_model_says(forced):
    """Values and gradients of 8 draws of 8 unknowns; M^2 + M + 1 numbers and 24 rows of 3, nothing of M x B."""
    assert forced["sent"]["gradient"] == [["all-reduce", 8 * (8 * 8 + 8)]]
    assert forced["sent"]["streamed"] == forced["sent"]["gradient"]  # 203 rows read beforehand: shared out all the same
    assert sorted(forced["sent"]["sparse process"]) == [["all-reduce", 8 * 24 * 3], ["all-reduce", 8 * (64 + 8 + 1)]]


def test_a_fit_had_over_a_mesh_is_saved_as_any_other(forced):
    assert forced["saved"] < TOLERANCE


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("axis", "an axis 'batch', and axes are 'data'"),
        ("no mesh", "must be a jax.sharding.Mesh"),
        ("rows", "no rows that are known"),
        ("chains", "8 particles, chains or restarts, which the 3 devices"),
        ("parameters", "8 unconstrained coordinates, which the 3 devices"),
        ("too many", "wants 9 devices, this process has 8"),
    ],
)
def test_a_mesh_that_does_not_fit_is_refused_before_anything_is_compiled(forced, name, words):
    assert words in forced["errors"][name]
    assert forced["errors"]["compiled"] == "0"


@pytest.mark.parametrize("name", [*PAIR, "streamed", "fit"])
def test_two_processes_give_the_answer_of_one_device_and_the_same_to_each(pair, name):
    for found in pair:
        assert found[name]["difference"] < TOLERANCE
        assert found[name]["ordinary"]
    assert pair[0][name]["digest"] == pair[1][name]["digest"]


def test_the_batches_of_processes_are_filled_up_to_what_their_devices_share_equally(pair):
    assert [found["rows of a process"] for found in pair] == [104, 104]  # of 103 and 100


def test_of_two_processes_the_first_alone_writes(pair, folder):
    assert (folder / "pair0" / "fit.json").exists()
    assert not (folder / "pair1").exists()


def test_sigterm_in_the_second_process_ends_both_at_one_chunk_and_both_go_on_from_the_checkpoint_of_the_first(pair):
    for rank, found in enumerate(pair):  # both have left with exit code 0
        assert found["resumed"]["stop"] == "TERMINATED"
        assert found["resumed"]["uncertified"]
        assert found["resumed"]["rungs"] == 1
        assert found["resumed"]["steps"] == [20, 30]
        assert found["resumed"]["difference"] < TOLERANCE
        assert found["resumed"]["folder"] == (rank == 0)


def test_processes_that_ask_for_different_runs_are_told_so(pair):
    for found in pair:
        assert "Processes [1] were given another" in found["other steps"]


def test_a_process_that_dies_ends_the_others_and_leaves_a_checkpoint(folder):
    survivor, victim = two("lost", folder)
    found = said(survivor, timeout=120)
    assert victim.wait(timeout=10) == 9
    assert "has ended or cannot be reached" in found["error"]
    assert found["chunks"] == 3
    assert found["seconds"] < 60
    assert said(started("resumed", folder))["difference"] < TOLERANCE
