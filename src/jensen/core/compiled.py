"""Compiled programs: in haste where they run briefly, else with all that XLA can do."""

import contextlib
import functools
import math
import threading
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr

from jensen.core.haste import haste, trace_state_clean
from jensen.core.parallel import gathered
from jensen.core.remembered import Remembered
from jensen.core.target import Noisy, Target

P = ParamSpec("P")
R = TypeVar("R")

WORK = 50_000  # of a log density up to which some thousand evaluations take less time than to compile it well
SMALL = 20_000  # elements of all other arrays up to which the same is taken to hold
PASSES = 1_000_000  # the same for programs that pass over their arguments a few times
FACTORISATIONS = {"cholesky", "eig", "eigh", "geqrf", "hessenberg", "lu", "qr", "schur", "svd", "triangular_solve"}
FULL = 3  # above any level of haste
WHILE = 100  # rounds that a loop of unknown length is taken to make


class Form(Generic[P, R]):
    """A function under `eqx.filter_jit` whose programs another thread may compile before they are called.

    XLA compiles without Python's lock, so that what is next can be traced meanwhile. Tracing itself stays in the thread
    of the caller: model languages keep their state in globals.
    """

    def __init__(self, fn: Callable[P, R], **options: Any):
        make: Any = eqx.filter_jit
        self.program = make(fn, **options)
        self._seen: set[int] = set()
        self._compilers: list[threading.Thread] = []

    def ahead(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Trace for such arguments and leave the compilation to a thread; False where that was done before."""
        if not trace_state_clean():
            return False
        named = tuple(kwargs.items())
        mark = hash((*map(_mark, args), *((name, _mark(value)) for name, value in named), jnp.result_type(float)))
        if mark in self._seen:
            return False
        self._seen.add(mark)
        lowered = self.program.lower(*args, **kwargs)
        compiler = threading.Thread(target=_compile, args=(lowered,), name="compile")
        compiler.start()
        self._compilers.append(compiler)
        return True

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The function's value, from the program that was compiled ahead if there is one."""
        while self._compilers:
            self._compilers.pop().join()
        return self.program(*args, **kwargs)


def _compile(lowered: Any) -> None:
    with contextlib.suppress(Exception):  # the call compiles again, and raises where it can be caught
        lowered.compile()


class Compiled(Generic[P, R]):
    """A function or method under `eqx.filter_jit` in two forms: compiled in `haste()`, and with all that XLA can do.

    A call takes the form for haste where compilation is nearly all of the time that it needs: if the log densities of
    the targets among its arguments have at most `WORK`, and its other arrays at most `small` elements. A target made
    for few evaluations may name the level of `haste` in its `optimisation`, whatever one costs. The choice
    depends on structure and shapes alone, so that results are reproducible. What takes many steps uses `full`. Within
    another trace it is the function itself. Over a mesh of devices its value is whole on each of them, unless `gather`
    says that it places its value itself.
    """

    def __init__(self, fn: Callable[P, R], small: int = SMALL, gather: bool = True):
        functools.update_wrapper(self, fn)
        self.fn, self.small = fn, small
        self.program = _gathering(fn) if gather else fn
        self.full = Form(self.program)
        self._levels: dict[int, Form[P, R]] = {}

    @property
    def hasty(self) -> Form[P, R]:
        """The form that is compiled in haste."""
        return self.at(0)

    def at(self, level: int) -> Form[P, R]:
        """The form that is compiled at a level of `haste`."""
        if level not in self._levels:
            options = haste(level)
            self._levels[level] = Form(self.program, compiler_options=options) if options else self.full
        return self._levels[level]

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """As a method: evaluated eagerly, it would be dozens of programs, one for each primitive."""
        return self if instance is None else functools.partial(self, instance)

    def form(self, *args: Any, evaluations: int = 1, heavy: int = FULL) -> Form[P, R]:
        """The form that these arguments ask for.

        `evaluations`: of each log density where it would be one; `heavy`: the level where that is too much for haste.
        """
        inner = [(0, (part,)) if _is_target(part) else _contents(part) for part in args]
        elements = sum(count for count, _ in inner)
        levels = [_level(target, evaluations, heavy) for _, targets in inner for target in targets]
        return self.at(max(levels, default=0)) if elements <= self.small and FULL not in levels else self.full

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The function's value, from a compiled program."""
        if not trace_state_clean():
            return self.fn(*args, **kwargs)
        return self.form(*args, *kwargs.values())(*args, **kwargs)


def sized(build: Callable[P, R]) -> Callable[P, R]:
    """`build`, which makes arrays of given sizes, as a `Compiled` program: eagerly, each array would be several.

    Numbers of NumPy are made Python's own: as sizes they would be arrays to the program.
    """
    program: Any = Compiled(build)

    @functools.wraps(build)
    def compiled(*args: P.args, **kwargs: P.kwargs) -> R:
        args_own, kwargs_own = jax.tree.map(lambda a: a.item() if isinstance(a, np.generic) else a, (args, kwargs))
        return program(*args_own, **kwargs_own)

    return compiled


def _gathering(fn: Callable[P, R]) -> Callable[P, R]:
    @functools.wraps(fn)
    def program(*args: P.args, **kwargs: P.kwargs) -> R:
        return gathered(fn(*args, **kwargs))

    return program


def _is_target(value: Any) -> bool:
    return isinstance(value, Target)


@Remembered
def _contents(tree: Any) -> tuple[int, tuple[Target, ...]]:
    """(elements of the arrays outside of targets, the targets) in a tree that is not itself a target."""
    parts = jax.tree.leaves(tree, is_leaf=_is_target)
    targets = tuple(part for part in parts if _is_target(part))
    return sum(math.prod(a.shape) for a in parts if eqx.is_array(a)), targets


@Remembered
def _mark(tree: Any) -> int:
    """A number that trees share which run the same program."""
    leaves, structure = jax.tree.flatten(tree)
    return hash((structure, tuple((a.shape, a.dtype) if eqx.is_array(a) else a for a in leaves)))


def _level(target: Target, evaluations: int, heavy: int) -> int:
    asked = getattr(target, "optimisation", None)
    if asked is None:
        asked = 0 if evaluations * density_work(target) <= WORK else heavy
    return asked


_SIZES: dict[Any, tuple[int, int]] = {}


def density_work(target: Target | Noisy) -> int:
    """Array elements that one evaluation of the log density computes, loops counted as often as they run.

    A loop of unknown length counts as `WHILE` rounds. Found once a structure and shapes, by tracing.
    """
    return _sizes(target, jnp.result_type(float))[0]


def widest_factorisation(target: Target | Noisy) -> int:
    """Rows of the largest matrix that one evaluation of the log density factorises, or solves with; 0 without any."""
    return _sizes(target, jnp.result_type(float))[1]


@Remembered
def _sizes(target: Target | Noisy, real: Any) -> tuple[int, int]:
    exact = target.exact if isinstance(target, Noisy) else target
    leaves, tree = jax.tree.flatten(exact)
    mark = (tree, tuple((a.shape, a.dtype) if eqx.is_array(a) else a for a in leaves), real)
    if mark not in _SIZES:
        z = jax.ShapeDtypeStruct((exact.space.dimension,), real)
        if len(_SIZES) >= 1000:
            _SIZES.clear()
        _SIZES[mark] = _count(jax.make_jaxpr(exact.log_density)(z).jaxpr)
    return _SIZES[mark]


def _count(jaxpr: Any) -> tuple[int, int]:
    """(elements, rows of the largest matrix factorised) of a program."""
    work, widest = 0, 0
    for eqn in jaxpr.eqns:
        rounds = {"scan": eqn.params.get("length", 1), "while": WHILE}.get(eqn.primitive.name, 1)
        values = jax.tree.leaves(tuple(eqn.params.values()), is_leaf=_is_jaxpr)
        inner = [_count(getattr(v, "jaxpr", v)) for v in values if _is_jaxpr(v)]
        own = sum(getattr(v.aval, "size", 1) for v in eqn.outvars)
        work += rounds * sum(part[0] for part in inner) if inner else own
        if eqn.primitive.name in FACTORISATIONS:
            widest = max(widest, min(eqn.invars[0].aval.shape[-2:]))
        widest = max([widest, *(part[1] for part in inner)])
    return work, widest


def _is_jaxpr(value: Any) -> bool:
    return isinstance(value, Jaxpr | ClosedJaxpr)
