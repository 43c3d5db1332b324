"""What every likelihood of a row is."""

import abc
from typing import Any, Self

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float

from jensen.core import InputError, PRNGKey


class Likelihood(eqx.Module):
    """p(x | raw) of a row x of n values, from the decoder's raw numbers, shape (n, outputs): any numbers are valid.

    Values of a row are independent given the raw numbers, unless a class says otherwise.
    """

    @property
    def outputs(self) -> int:
        """Raw numbers that a value takes."""
        return 1

    @abc.abstractmethod
    def log_prob(self, x: Float[Array, " n"], raw: Float[Array, "n p"]) -> Float[Array, ""]:
        """log p(x | raw), normalised, in nats."""

    @abc.abstractmethod
    def mean(self, raw: Float[Array, "n p"]) -> Float[Array, " n"]:
        """E[x | raw]: the reconstruction."""

    @abc.abstractmethod
    def sample(self, key: PRNGKey, raw: Float[Array, "n p"]) -> Float[Array, " n"]:
        """A draw of x."""

    @abc.abstractmethod
    def initial(self, X: np.ndarray) -> np.ndarray:
        """Raw numbers, shape (n, outputs), that fit the columns of X by themselves: where training starts."""

    def check(self, X: np.ndarray) -> None:
        """Raise `InputError` where X, shape (rows, n), leaves the support, with its range and the mend."""

    def partition(self) -> tuple[Self, Self]:
        """(trainable, rest); all inexact arrays train by default."""
        return eqx.partition(self, eqx.is_inexact_array)


def check_range(X: np.ndarray, name: str, inside: Any, wanted: str, mend: str) -> None:
    """Raise `InputError` unless `inside(X)` holds everywhere: says the range of X, what is wanted and what to do."""
    if not np.all(inside(X)):
        words = f"X ranges over [{np.min(X):g}, {np.max(X):g}]"
        raise InputError(f"The {name} likelihood wants {wanted}, and {words}{_fraction(X)}: {mend}")


def _fraction(X: np.ndarray) -> str:
    return " with values that are no whole numbers" if not np.all(np.round(X) == X) else ""


def logit(p: np.ndarray, margin: float) -> np.ndarray:
    """log p / (1 - p), p kept `margin` away from 0 and 1."""
    p = np.clip(p, margin, 1 - margin)
    return np.log(p) - np.log1p(-p)
