"""Compiled programs: in haste where they run briefly, else with all that XLA can do."""

import functools
import math
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax._src.core import trace_state_clean  # NumPyro relies on it too; JAX has no public name for it
from jax.extend.core import ClosedJaxpr, Jaxpr

from jensen.core.parallel import gathered
from jensen.core.target import Noisy, Target

P = ParamSpec("P")
R = TypeVar("R")

WORK = 50_000  # of a log density up to which some thousand evaluations take less time than to compile it well
SMALL = 20_000  # elements of all other arrays up to which the same is taken to hold
PASSES = 1_000_000  # the same for programs that pass over their arguments a few times
WHILE = 100  # rounds that a loop of unknown length is taken to make
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


class Compiled(Generic[P, R]):
    """A function or method under `eqx.filter_jit` in two forms: compiled in `haste()`, and with all that XLA can do.

    A call takes the form for haste where compilation is nearly all of the time that it needs: if the log densities of
    the targets among its arguments have at most `WORK`, and its other arrays at most `small` elements. The choice
    depends on structure and shapes alone, so that results are reproducible. What takes many steps uses `full`. Within
    another trace it is the function itself. Over a mesh of devices its value is whole on each of them, unless `gather`
    says that it places its value itself.
    """

    def __init__(self, fn: Callable[P, R], small: int = SMALL, gather: bool = True):
        functools.update_wrapper(self, fn)
        self.fn, self.small = fn, small
        self.program = _gathering(fn) if gather else fn
        self.full = eqx.filter_jit(self.program)

    @functools.cached_property
    def hasty(self) -> Callable[P, R]:
        """The form that is compiled in haste."""
        make: Any = eqx.filter_jit
        return make(self.program, compiler_options=haste()) if haste() else self.full

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """As a method: evaluated eagerly, it would be dozens of programs, one for each primitive."""
        return self if instance is None else functools.partial(self, instance)

    def form(self, *args: Any) -> Any:
        """The form that these arguments ask for."""
        parts = jax.tree.leaves(args, is_leaf=_is_target)
        elements = sum(math.prod(a.shape) for a in parts if eqx.is_array(a))
        light = elements <= self.small and all(density_work(t) <= WORK for t in parts if _is_target(t))
        return self.hasty if light else self.full

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The function's value, from a compiled program."""
        if not trace_state_clean():
            return self.fn(*args, **kwargs)
        return self.form(args, kwargs)(*args, **kwargs)


def _gathering(fn: Callable[P, R]) -> Callable[P, R]:
    @functools.wraps(fn)
    def program(*args: P.args, **kwargs: P.kwargs) -> R:
        return gathered(fn(*args, **kwargs))

    return program


def _is_target(value: Any) -> bool:
    return isinstance(value, Target)


_WORK: dict[Any, int] = {}


def density_work(target: Target) -> int:
    """Array elements that one evaluation of the log density computes, loops counted as often as they run.

    A loop of unknown length counts as `WHILE` rounds. Found once a structure and shapes, by tracing.
    """
    exact = target.exact if isinstance(target, Noisy) else target
    leaves, tree = jax.tree.flatten(exact)
    mark = (tree, tuple((a.shape, a.dtype) if eqx.is_array(a) else a for a in leaves), jnp.result_type(float))
    if mark not in _WORK:
        z = jax.ShapeDtypeStruct((exact.space.dimension,), jnp.result_type(float))
        if len(_WORK) >= 1000:
            _WORK.clear()
        _WORK[mark] = _work(jax.make_jaxpr(exact.log_density)(z).jaxpr)
    return _WORK[mark]


def _work(jaxpr: Any) -> int:
    total = 0
    for eqn in jaxpr.eqns:
        rounds = {"scan": eqn.params.get("length", 1), "while": WHILE}.get(eqn.primitive.name, 1)
        values = jax.tree.leaves(tuple(eqn.params.values()), is_leaf=_is_jaxpr)
        inner = [getattr(v, "jaxpr", v) for v in values if _is_jaxpr(v)]
        total += rounds * sum(map(_work, inner)) if inner else sum(getattr(v.aval, "size", 1) for v in eqn.outvars)
    return total


def _is_jaxpr(value: Any) -> bool:
    return isinstance(value, Jaxpr | ClosedJaxpr)
