"""What the contract tests share: running a case, comparing trees bit for bit, counting compilations."""

import contextlib
import functools

import jax
import numpy as np

from jensen._run import Outcome, drive
from tests.contract.cases import CASES

CHUNK = 100
_COMPILED: list[str] = []


def _listen(event: str, duration: float, **_: object) -> None:
    if event == "/jax/core/compile/backend_compile_duration":
        _COMPILED.append(event)


jax.monitoring.register_event_duration_secs_listener(_listen)


@contextlib.contextmanager
def compilations():
    """A list that, once the block ends, has one entry for each program that XLA was asked to compile within it."""
    before, count = len(_COMPILED), []
    yield count
    count.extend(_COMPILED[before:])


@functools.cache
def fitted(name: str, seed: int = 0) -> Outcome:
    """The case's run on the shared target, once a session."""
    case = CASES[name]
    return drive(case.make(), case.target(), key=jax.random.key(seed), steps=case.steps, chunk=CHUNK)


def assert_same_bits(a, b):
    """Equal trees, dtypes and bits; NaN equals NaN."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        x, y = np.asarray(x), np.asarray(y)
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)


def assert_same_outcome(a: Outcome, b: Outcome):
    """Two runs of which nothing but the wall time differs."""
    assert_same_bits(a.state, b.state)
    assert_same_bits(
        (a.run.history.objective, a.run.history.residual), (b.run.history.objective, b.run.history.residual)
    )
    assert_same_bits(a.run.history.scalars, b.run.history.scalars)
    assert a.run.stop is b.run.stop
    assert a.run.notes == b.run.notes


def all_finite(tree) -> bool:
    """Whether every inexact array of a tree is finite."""
    return all(np.all(np.isfinite(x)) for x in jax.tree.leaves(tree) if np.issubdtype(np.asarray(x).dtype, np.inexact))
