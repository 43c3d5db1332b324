"""XLA's options for programs that run briefly, and whether a value is computed now or traced."""

import functools
from typing import Any

import jax
from jax._src.core import trace_state_clean  # NumPyro relies on it too; JAX has no public name for it

__all__ = ["haste", "trace_state_clean"]

_HASTE = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}


@functools.cache
def haste() -> dict[str, Any]:
    """Compiler options under which XLA takes about a third of its time, for code a few times as slow.

    For the CPU alone, and empty where this version of XLA does not know them.
    """
    if jax.default_backend() != "cpu":
        return {}
    try:
        jax.jit(lambda: 0, compiler_options=_HASTE).lower().compile()
    except Exception:
        return {}
    return _HASTE
