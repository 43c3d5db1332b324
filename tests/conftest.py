"""Double precision, a compilation cache that outlives the process, and checked shapes and types for every test."""

import gc
import os
from pathlib import Path

import jax
import pytest
from jaxtyping import install_import_hook

import tests.typecheck  # noqa: F401  the hook looks it up by name

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_compilation_cache_dir", str(Path(__file__).parent.parent / ".jax_cache"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)

install_import_hook("jensen", "tests.typecheck.check")

TESTS = pytest.StashKey[int]()


@pytest.fixture(params=range(5), ids=lambda seed: f"seed{seed}")
def key(request):
    """Five keys in turn: a new seed must never be the cure for a red test."""
    return jax.random.key(request.param)


MAPS = Path("/proc/self/maps")
MANY_MAPS = 30_000  # of the 65,530 that Linux allows a process by default; beyond them XLA's compiler crashes


@pytest.fixture(autouse=True)
def few_memory_maps(request):
    """Drop compiled programs before they fill the process's table of memory maps: each takes several."""
    yield
    count = request.config.stash.get(TESTS, 0) + 1
    request.config.stash[TESTS] = count
    if count % 20 == 0 and MAPS.exists() and MAPS.read_bytes().count(b"\n") > MANY_MAPS:
        jax.clear_caches()
        gc.collect()


DATA = Path(os.environ.get("JENSEN_DATA", "/nonexistent"))
NEEDS_DATA = {"targets/test_posteriordb.py": DATA / "posteriordb" / "reference_draws.npz"}

# tests against outside data that is not there are not collected; the header says which
collect_ignore = [test for test, data in NEEDS_DATA.items() if not data.exists()]


def pytest_report_header():
    return [f"left out, for JENSEN_DATA has no {NEEDS_DATA[test].name}: {test}" for test in collect_ignore]
