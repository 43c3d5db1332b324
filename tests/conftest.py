"""Double precision, a compilation cache that outlives the process, and checked shapes and types for every test."""

import ctypes
import gc
import os
from pathlib import Path
from typing import Any

# read when the algebra's library is loaded: its idle threads spin, and with a worker a core they cost half of the time
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import jax
import pytest
from jax._src import compiler  # JAX has no public name for the compiler options of all programs
from jaxtyping import install_import_hook

import tests.typecheck  # noqa: F401  the hook looks it up by name

os.environ.setdefault("PJRT_NPROC", "8")  # as `import jensen` does, which some test may do after a first computation
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_compilation_cache_dir", str(Path(__file__).parent.parent / ".jax_cache"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)

install_import_hook("jensen", "tests.typecheck.check")

TESTS = pytest.StashKey[int]()

# Three quarters of the tests' time were XLA's. These options take a fifth of it: no fusion emitters, no passes of LLVM,
# and one piece of code a program instead of up to 32, which compile at once where cores are idle, as here they are not.
HASTE = {
    "xla_backend_optimization_level": 0,
    "xla_cpu_use_fusion_emitters": False,
    "xla_cpu_parallel_codegen_split_count": 1,
}
# Papers run their programs longer. Compiled so they take half of XLA's time, and run about as fast.
PAPERS = {"xla_backend_optimization_level": 1, "xla_cpu_use_fusion_emitters": False}
LEVEL = {"xla_backend_optimization_level"}
OPTIONS: dict[str, Any] = {}  # for what is compiled from now on
get_compile_options = compiler.get_compile_options


def _with_options(*args, env_options_overrides=None, **settings):
    asked = env_options_overrides or {}
    overrides = OPTIONS | asked
    for name in LEVEL & OPTIONS.keys() & asked.keys():  # a test is never compiled better than its kind
        overrides[name] = min(OPTIONS[name], asked[name])
    return get_compile_options(*args, env_options_overrides=overrides, **settings)


compiler.get_compile_options = _with_options


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Tests marked `optimised` run programs for long, or compare both forms: they are compiled as for users.

    Papers are compiled nearly so, all others in haste. No program passes from one kind of test to another: else the
    bits of a result would depend on the tests that a worker had before.
    """
    papers = item.path.is_relative_to(Path(__file__).parent / "papers")
    as_for_users = item.get_closest_marker("optimised") is not None or jax.default_backend() != "cpu"
    options = {} if as_for_users else PAPERS if papers else HASTE
    if options != OPTIONS:
        jax.clear_caches()
        OPTIONS.clear()
        OPTIONS.update(options)


@pytest.fixture(params=range(5), ids=lambda seed: f"seed{seed}")
def key(request):
    """Five keys in turn: a new seed must never be the cure for a red test."""
    return jax.random.key(request.param)


MAPS, STATM = Path("/proc/self/maps"), Path("/proc/self/statm")
MANY_MAPS = 30_000  # of the 65,530 that Linux allows a process by default; beyond them XLA's compiler crashes
MUCH_MEMORY = 3 * 2**30  # bytes


@pytest.fixture(autouse=True)
def bounded_memory(request):
    """Drop compiled programs before they fill the process's table of memory maps, or its memory.

    Compilers leave the heap in pieces: without trimming, a worker was seen to hold 8 GB of which 2 were in use.
    """
    yield
    count = request.config.stash.get(TESTS, 0) + 1
    request.config.stash[TESTS] = count
    if count % 20 or not MAPS.exists():
        return
    many = MAPS.read_bytes().count(b"\n") > MANY_MAPS
    if many or _resident() > MUCH_MEMORY:
        _trim()
    if many or _resident() > 1.5 * MUCH_MEMORY:
        jax.clear_caches()
        _trim()


def _resident() -> int:
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _trim() -> None:
    """Free what nothing refers to, and give it back to the system where the C library can."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


DATA = Path(os.environ.get("JENSEN_DATA", "/nonexistent"))
NEEDS_DATA = {
    "targets/test_posteriordb.py": DATA / "posteriordb" / "reference_draws.npz",
    "targets/test_sbibm.py": DATA / "sbibm" / "reference_posteriors.npz",
}

# tests against outside data that is not there are not collected; the header says which
collect_ignore = [test for test, data in NEEDS_DATA.items() if not data.exists()]


def pytest_report_header():
    return [f"left out, for JENSEN_DATA has no {NEEDS_DATA[test].name}: {test}" for test in collect_ignore]
