"""Settings of the process that belong to the command and not to the library."""

import os


def configure() -> None:
    """Double precision, and compiled programs kept between processes: each unless the environment says otherwise."""
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
