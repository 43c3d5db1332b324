"""XLA's options for programs that run briefly, and whether a value is computed now or traced."""

import functools
from typing import Any

import jax
from jax._src.core import trace_state_clean  # NumPyro relies on it too; JAX has no public name for it

__all__ = ["haste", "trace_state_clean"]

# XLA's 32 pieces of a program are for 32 cores: of a small one each costs more to begin than to compile
_HASTE = {
    "xla_backend_optimization_level": 0,
    "xla_cpu_use_fusion_emitters": False,
    "xla_cpu_parallel_codegen_split_count": 1,
}


@functools.cache
def haste(level: int = 0) -> dict[str, Any]:
    """Compiler options for XLA's optimisation at a low level, without what takes it longest.

    Level 0 takes about a third of the time of compilation, for code a few times as slow; level 1 about half, for code
    slower by a fifth where it is not products of matrices. For the CPU alone, and empty where this version of XLA does
    not know them.
    """
    if jax.default_backend() != "cpu":
        return {}
    options = _HASTE | {"xla_backend_optimization_level": level}
    try:
        jax.jit(lambda: 0, compiler_options=options).lower().compile()
    except Exception:
        return {}
    return options
