"""Settings of the process that belong to the command and not to the library."""

import os

FEW = 4  # processors
KNOWN = "0.10."  # versions of jaxlib; a flag that a later one does not know would end the process
ONE_THREAD = "--xla_cpu_multi_thread_eigen=false"
# on the CPU about half of the time to compile; programs run about as fast
HASTE = ("--xla_backend_optimization_level=1", "--xla_cpu_use_fusion_emitters=false")


def configure(in_haste: bool = False) -> None:
    """Double precision, and compiled programs kept between processes: each unless the environment says otherwise.

    On few processors XLA's kernels stay in their own threads (`never_wait`). With `in_haste`, for many programs that
    run shortly, XLA optimises them less (`compile_in_haste`).
    """
    never_wait()
    if in_haste:
        compile_in_haste()
    import jax

    from jensen.datasets._places import cache_folder

    if "JAX_ENABLE_X64" not in os.environ:
        jax.config.update("jax_enable_x64", True)
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        folder = cache_folder() / "programs"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            return  # a cache is a convenience: without a place for it all works, slower
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def never_wait() -> None:
    """Where there are at most four processors, tell XLA for the CPU that no kernel may hand parts to the thread pool.

    A batched factorisation of jaxlib (Cholesky, 0.10.2) runs in a thread of the pool, gives its parts to the same pool
    and waits for them. As many of them at once as there are threads, such as the Gaussian processes of one model, can
    wait for ever. Programs still run their independent kernels side by side. To be called before anything is computed;
    a flag in XLA_FLAGS is left as it is.
    """
    from importlib.metadata import version

    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if version("jaxlib").startswith(KNOWN) and usable <= FEW:
        _add_flag(ONE_THREAD)


def compile_in_haste() -> None:
    """Tell XLA to compile with LLVM's first level and without fusion emitters.

    To be called before anything is computed. A flag in XLA_FLAGS is left as it is.
    """
    from importlib.metadata import version

    if version("jaxlib").startswith(KNOWN):
        for flag in HASTE:
            _add_flag(flag)


def _add_flag(flag: str) -> None:
    """Add `flag` to XLA_FLAGS unless it is there with a value of the user's, or XLA_FLAGS is the name of a file."""
    flags = os.environ.get("XLA_FLAGS", "").strip()
    names = [word.partition("=")[0] for word in flags.split()]
    if flag.partition("=")[0] not in names and (not flags or flags.startswith("-")):
        os.environ["XLA_FLAGS"] = f"{flags} {flag}".strip()
