"""What the estimators of sites have in common."""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
from jaxtyping import Array, Float

from jensen.core import InputError, PRNGKey

Scalar = Float[Array, ""]
Go = Callable[[Any, PRNGKey], tuple[Scalar, Scalar]]  # the rest of the program at a value: (value, surrogate)


class SiteEstimator(eqx.Module):
    """How a gradient passes one random site of a program. See `Drawing` and `Branching`."""

    @abc.abstractmethod
    def check(self, name: str, fn: Any) -> None:
        """Refuse a distribution that this estimator is not for. Raises `InputError`, which names the site."""


class Draw(eqx.Module):
    """A value of a site.

    Where draws are no differentiable function of the parameters, `weight` is such that for the cost C of all that
    follows, grad E[C] = E[grad C + (C - b) grad weight]; None where it is zero. `baseline`: b, None for the mean of the
    other draws.
    """

    value: Any
    weight: Scalar | None = None
    baseline: Scalar | None = None


class Drawing(SiteEstimator):
    """An estimator by one draw: the rest of the program runs once."""

    @abc.abstractmethod
    def draw(self, key: PRNGKey, fn: Any) -> Draw:
        """A draw of the distribution `fn`."""


class Branching(SiteEstimator):
    """An estimator that runs the rest of the program at several values."""

    @abc.abstractmethod
    def size(self, fn: Any) -> float:
        """Number of values."""

    @abc.abstractmethod
    def branch(self, key: PRNGKey, fn: Any, go: Go) -> tuple[Scalar, Scalar]:
        """(E of the cost, surrogate), from the rest of the program `go(value, key)`."""


def plain(fn: Any) -> Any:
    """The distribution within `Independent` and `expand`: its parameters broadcast to the shape of the site."""
    while type(fn).__name__ in ("Independent", "ExpandedDistribution"):
        fn = fn.base_dist
    return fn


def one_hot_logits(fn: Any) -> Array | None:
    """log p of a distribution of one-hot vectors, a vector an element of the site; None of any other distribution."""
    from jensen.targets import _one_hot

    return _one_hot.one_hot_logits(plain(fn))


def refusal(estimator: Any, name: str, fn: Any, takes: str) -> InputError:
    """The error for a distribution that an estimator is not for."""
    return InputError(f"{type(estimator).__name__} takes {takes}; site {name!r} is a {type(plain(fn)).__name__}")
