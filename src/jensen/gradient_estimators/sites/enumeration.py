"""Sites of finite support, summed over."""

import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jensen.core import InputError, PRNGKey
from jensen.gradient_estimators.sites._base import Branching, Go, Scalar, one_hot_logits, plain, refusal

MAX_VALUES = 4096


class Enumeration(Branching):
    """E[C(x)] = sum_k q(x_k) C(x_k) over the whole support: no variance from this site, one run of the rest a value.

    A site of several elements has the product of their supports. Raises `InputError` for a site without finite
    support, or if its values, times those of the sites that enclose it, are more than 4,096 (it says how many).

    Source: Becker et al. (2024).
    """

    def check(self, name: str, fn: Any) -> None:
        if not has_finite_support(fn):
            raise refusal(self, name, fn, "distributions of finite support")
        if self.size(fn) > MAX_VALUES:
            raise too_many(name, self.size(fn))

    def size(self, fn: Any) -> float:
        return size_of(fn)

    def branch(self, key: PRNGKey, fn: Any, go: Go) -> tuple[Scalar, Scalar]:
        values = table(fn)
        log_q = jax.vmap(lambda x: jnp.sum(fn.log_prob(x)))(values)
        q = jnp.exp(log_q)
        # one key for all branches: common random numbers
        costs, surrogates = jax.vmap(lambda x: go(x, key))(values)
        costs = jax.lax.stop_gradient(costs)
        return q @ costs, q @ costs + jax.lax.stop_gradient(q) @ surrogates


def too_many(name: str, size: float) -> InputError:
    """The error for a support that is too large to enumerate."""
    shown = f"{size:.0f}" if size < 1e9 else f"{size:.1e}"
    return InputError(
        f"Enumerating site {name!r} takes {shown} values, more than {MAX_VALUES}: use ScoreFunction() or "
        "MeasureValued()"
    )


def has_finite_support(fn: Any) -> bool:
    """Whether a distribution is discrete with a support known beforehand."""
    base = plain(fn)
    if one_hot_logits(base) is not None:
        return True
    return base.support.is_discrete and base.has_enumerate_support and not base.event_shape


def size_of(fn: Any) -> float:
    """Number of joint values of a site of finite support; infinity for any other."""
    if not has_finite_support(fn):
        return float("inf")
    return float(_support(fn).shape[0]) ** math.prod(_cells(fn))


def table(fn: Any) -> Array:
    """All joint values of a site, leading axis values."""
    support, n = _support(fn), math.prod(_cells(fn))
    rows = np.array(list(itertools.product(range(support.shape[0]), repeat=n)), int).reshape(-1, n)
    return support[rows].reshape(-1, *fn.shape())


def _cells(fn: Any) -> tuple[int, ...]:
    """Shape of the site in elements that vary on their own: numbers, or one-hot vectors."""
    return fn.shape() if one_hot_logits(fn) is None else fn.shape()[:-1]


def _support(fn: Any) -> Array:
    """(values, *shape of an element)."""
    logits = one_hot_logits(fn)
    if logits is not None:
        return jnp.eye(logits.shape[-1], dtype=jnp.result_type(int))
    return plain(fn).enumerate_support(expand=False).reshape(-1)
