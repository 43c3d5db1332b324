"""Which representation of a Gaussian process fits the data: exact, a filter in time, neighbours or inducing points."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jensen.core import InputError
from jensen.gp.kernels.stationary import Matern12, Matern32, Matern52
from jensen.gp.priors.inducing import Inducing
from jensen.gp.state_space.convert import state_space_form

KINDS = ("exact", "state_space", "vecchia", "inducing")
LINE = 1000  # times above which a filter is faster than one factorisation
STATES = 10_000_000  # n d^2 up to which the gradient of a filter with d states fits into about a gigabyte
ROUGH = (Matern12, Matern32, Matern52)  # kernels under which nearest rows screen the others off
PLANE = (2, 3)  # numbers of inputs in which few neighbours surround a row
ORDERED = 50_000  # rows that are put in maximin order, n^2, within a minute


class Choice(NamedTuple):
    """A representation (one of `KINDS`) and the reason for it."""

    kind: str
    why: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.why}"


def choose(asked: str, kernel: Any, x: np.ndarray, values: int = 1, largest: int = 2000) -> Choice:
    """The representation for n inputs (n, d), `values` latent functions and one kernel.

    `asked`: the user's word, `auto` or one of `KINDS`. `largest`: latent values up to which exact algebra is cheap.
    Neighbours are never chosen here: whether they are needed shows in lengthscales that are trained first.
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


def may_need_neighbours(kernel: Any, x: np.ndarray) -> bool:
    """Whether nearest rows could do better than inducing points: whether they do depends on the lengthscale."""
    few = x.shape[1] in PLANE and len(x) <= ORDERED
    return few and isinstance(kernel, ROUGH) and len(np.unique(x, axis=0)) == len(x)


def left_over(kernel: Any, x: Any, features: Any) -> float:
    """Mean variance of f at x that is left where the inducing variables are known."""
    return float(_residual(kernel, jnp.asarray(x), features))


@eqx.filter_jit
def _residual(kernel: Any, x: Any, features: Any) -> Any:
    return jnp.mean(Inducing(kernel, x, features).design().residual)


def _states(kernel: Any, x: np.ndarray, values: int) -> int:
    """Number of states of all latent functions together. Raises `InputError` where there is no state-space form."""
    if x.shape[1] != 1:
        raise InputError(
            f"A state-space representation has one input, time, and X has {x.shape[1]} columns: ask for "
            "representation='exact' or 'inducing'"
        )
    return values * jax.eval_shape(lambda: state_space_form(kernel).stationary()).shape[0]
