"""Errors: each names the cause and the mend, and is raised before any compilation."""

import difflib
from collections.abc import Iterable
from typing import Any


class JensenError(Exception):
    """Base of every error that Jensen raises on purpose."""


class InputError(JensenError, ValueError):
    """What was given cannot be used: wrong shape, type, range or structure."""


class UnknownName(InputError, KeyError):
    """A name that is not in a list of names; the message suggests the nearest."""

    def __init__(self, kind: str, name: str, known: Iterable[str]):
        known = sorted(known)
        lowered = {k.lower(): k for k in known}
        near = [lowered[n] for n in difflib.get_close_matches(name.lower(), lowered, n=3, cutoff=0.4)]
        if near:
            hint = "Did you mean " + " or ".join(repr(n) for n in near) + "?"
        else:
            shown = ", ".join(known[:12]) + (", ..." if len(known) > 12 else "")
            hint = f"Known: {shown or 'none'}."
        super().__init__(f"Unknown {kind} {name!r}. {hint}")

    def __str__(self) -> str:  # KeyError would print the repr
        return str(self.args[0])


class MissingCapability(InputError, TypeError):
    """An algorithm needs of a target what that target does not offer."""


class NonFiniteDensity(InputError):
    """The log density is NaN or infinite at every starting point."""


class ProcessLost(JensenError, RuntimeError):
    """Another process of a run over several has ended or cannot be reached."""


class StorageError(JensenError, OSError):
    """A saved fit or checkpoint cannot be written or read: missing, truncated, foreign, or of another version.

    `kept`: where a run could not save its checkpoint, the `Fit` that it had come to, not certified; else None.
    """

    kept: Any = None

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""
