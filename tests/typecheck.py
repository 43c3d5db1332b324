"""The type checker of the import hook: beartype, but for `Self`, which it can judge on whole classes only."""

import typing
from collections.abc import Callable
from typing import Any

from beartype import beartype


def check(fn: Callable) -> Callable:
    """`fn` with its annotated arguments and result checked when it is called."""
    annotations: dict[str, Any] = getattr(fn, "__annotations__", {})
    selfless = {name: hint for name, hint in annotations.items() if not _mentions_self(hint)}
    if len(selfless) < len(annotations):
        fn.__annotations__ = selfless
    return beartype(fn)


def _mentions_self(hint: Any) -> bool:
    return hint is typing.Self or any(_mentions_self(part) for part in typing.get_args(hint))
