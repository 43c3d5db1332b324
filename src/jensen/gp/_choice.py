"""Which representation of a Gaussian process fits the data: exact, a filter in time, or inducing points."""

from typing import Any, NamedTuple

import jax
import numpy as np

from jensen.core import InputError
from jensen.gp.state_space.convert import state_space_form

KINDS = ("exact", "state_space", "inducing")
LINE = 1000  # times above which a filter is faster than one factorisation
STATES = 10_000_000  # n d^2 up to which the gradient of a filter with d states fits into about a gigabyte


class Choice(NamedTuple):
    """A representation (one of `KINDS`) and the reason for it."""

    kind: str
    why: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.why}"


def choose(asked: str, kernel: Any, x: np.ndarray, values: int = 1, largest: int = 2000) -> Choice:
    """The representation for n inputs (n, d), `values` latent functions and one kernel.

    `asked`: the user's word, `auto` or one of `KINDS`. `largest`: latent values up to which exact algebra is cheap.
    Raises `InputError` for a state-space representation of several inputs, or of a kernel without one.
    """
    n, rows = len(x), len(x) * values
    if asked != "auto":
        if asked == "state_space":
            _states(kernel, x, values)
        return Choice(asked, "as asked")
    if rows <= min(LINE, largest):
        return Choice("exact", f"{rows} latent values are at most {min(LINE, largest)}, where exact algebra is cheap")
    try:
        d = _states(kernel, x, values)
        reason = f"its filter with {d} states needs too much memory"
        if n * d**2 <= STATES:
            words = f"one input and a kernel with {d} states: exact, and linear in the {rows} latent values"
            return Choice("state_space", words)
    except InputError as error:
        one = x.shape[1] == 1
        reason = str(error).split(":")[0] if one else f"{x.shape[1]} inputs have no state-space form"
    if rows <= largest:
        return Choice("exact", f"{rows} latent values are at most {largest}, where exact algebra is cheap ({reason})")
    words = f"{rows} latent values are more than {largest}, where inducing points cost n M^2 and not n^3 ({reason})"
    return Choice("inducing", words)


def _states(kernel: Any, x: np.ndarray, values: int) -> int:
    """Number of states of all latent functions together. Raises `InputError` where there is no state-space form."""
    if x.shape[1] != 1:
        raise InputError(
            f"A state-space representation has one input, time, and X has {x.shape[1]} columns: ask for "
            "representation='exact' or 'inducing'"
        )
    return values * jax.eval_shape(lambda: state_space_form(kernel).stationary()).shape[0]
