"""How many threads the factorisations of a run take."""

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Any

import jax

from jensen.core.compiled import widest_factorisation
from jensen.core.target import InPasses, Target

WIDTH = 1000  # unknowns, or rows of a matrix, from which factorisations gain more by threads than they lose
NAMES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "GOTO_NUM_THREADS")


@contextlib.contextmanager
def one_thread(width: int = 0) -> Iterator[None]:
    """While this lasts OpenBLAS, which XLA calls on the CPU for factorisations, works in one thread.

    Between calls its threads spin, and take the cores from XLA's own: a triangular solve with 64 rows took 0.05 ms of
    processor time in one thread, 5.5 ms in two, on two cores that had other work. Nothing is changed for matrices of
    `width` `WIDTH` or more, on another device, where the user has set a number (`OPENBLAS_NUM_THREADS`), and in other
    threads than the first, from which OpenBLAS takes no number. Afterwards all is as it was.
    """
    wide, said = width >= WIDTH, any(name in os.environ for name in NAMES)
    if wide or said or threading.current_thread() is not threading.main_thread() or jax.default_backend() != "cpu":
        yield
        return
    with _openblas().limit(limits=1):
        yield


def width_of(target: Target) -> int:
    """The number of unknowns, or the rows of the largest matrix that the log density factorises."""
    d = target.space.dimension
    return d if isinstance(target, InPasses) else max(d, widest_factorisation(target))


def _openblas() -> Any:
    """The libraries that JAX takes its factorisations from, found once."""
    if not hasattr(_openblas, "found"):
        import scipy.linalg.cython_lapack  # noqa: F401  JAX would load it at its first factorisation
        from threadpoolctl import ThreadpoolController

        _openblas.found = ThreadpoolController().select(internal_api="openblas")
    return _openblas.found
