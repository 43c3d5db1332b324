"""What is asked of the same object at every call, found once while the object lives."""

import functools
import weakref
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

import equinox as eqx

R = TypeVar("R")


class Remembered(Generic[R]):
    """`fn(thing, *more)` with its values kept for each `thing` that is an `eqx.Module`, which is never changed.

    Kept by identity, since a module of arrays has neither a hash nor an equality that is a bool, and no longer than the
    module lives. Not for what reads the contents of containers within it. Of other things `fn` is asked every time.
    """

    def __init__(self, fn: Callable[..., R]):
        functools.update_wrapper(self, fn)
        self.fn = fn
        self._known: dict[int, tuple[weakref.ref, dict[Hashable, R]]] = {}

    def __call__(self, thing: Any, *more: Hashable) -> R:
        """The value for `thing`."""
        if not isinstance(thing, eqx.Module):
            return self.fn(thing, *more)
        number = id(thing)
        entry = self._known.get(number)
        if entry is None or entry[0]() is not thing:
            entry = self._known[number] = (weakref.ref(thing, functools.partial(self._forget, number)), {})
        values = entry[1]
        if more not in values:
            values[more] = self.fn(thing, *more)
        return values[more]

    def _forget(self, number: int, gone: weakref.ref) -> None:
        if number in self._known and self._known[number][0] is gone:  # else the number is another object's by now
            del self._known[number]
