"""Generators f of f-divergences D_f(p || q) = E_q[f(p / q)], by their names."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

_LOG_2 = math.log(2)


@dataclasses.dataclass(frozen=True)
class Generator:
    """A convex f with f(1) = 0, written as a function of log r, so that no ratio overflows; `f(r)` is its value at r.

    `weight(r)` = f''(r) r^2 is the weight of a draw in the path gradient of D_f.
    """

    name: str
    of_log: Callable[[Any], Any]

    def __call__(self, r: Any) -> Any:
        return self.of_log(jnp.log(r))

    def weight(self, r: Any) -> Any:
        """h(r) = f''(r) r^2 = g''(l) - g'(l) for g(l) = f(exp(l)), at a scalar r."""
        slope = jax.grad(self.of_log)
        log_r = jnp.log(jnp.asarray(r, jnp.result_type(float)))
        return jax.grad(slope)(log_r) - slope(log_r)


def _times_exp(factor: Any, log_r: Any) -> Any:
    """r times `factor`, zero in the limit of r = 0, where p is zero."""
    return jnp.exp(log_r) * jnp.maximum(factor, -80.0)


def _softplus_gap(log_r: Any) -> Any:
    """log((1 + r) / 2)."""
    return jax.nn.softplus(log_r) - _LOG_2


REVERSE_KL = Generator("reverse KL, -log r", lambda x: -x)
FORWARD_KL = Generator("forward KL, r log r", lambda x: _times_exp(x, x))
JENSEN_SHANNON = Generator(
    "Jensen-Shannon (twice), r log r - (r + 1) log((r + 1) / 2)",
    lambda x: _times_exp(x - _softplus_gap(x), x) - _softplus_gap(x),
)
SOFTENED_REVERSE_KL = Generator(
    "softened reverse KL, (r + 1) log(1/2 + 1/(2 r))", lambda x: (jnp.exp(x) + 1) * (_softplus_gap(x) - x)
)
JEFFREYS = Generator("Jeffreys, (r - 1) log r", lambda x: jnp.expm1(x) * x)
SQUARED_HELLINGER = Generator("squared Hellinger, 1 - sqrt r", lambda x: -jnp.expm1(0.5 * x))
PEARSON = Generator("Pearson chi^2 of p from q, (r - 1)^2", lambda x: jnp.expm1(x) ** 2)

GENERATORS = (REVERSE_KL, FORWARD_KL, JENSEN_SHANNON, SOFTENED_REVERSE_KL, JEFFREYS, SQUARED_HELLINGER, PEARSON)
