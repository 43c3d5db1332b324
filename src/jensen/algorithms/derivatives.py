"""Estimators of the expected value, gradient and Hessian of log p under a Gaussian: what Gaussian VI is driven by."""

import abc
from typing import Any

import equinox as eqx
from jaxtyping import Array, Float

from jensen.algorithms._gaussian import expected_derivatives, expected_derivatives_stein
from jensen.core import InputError, PRNGKey, Scalar, require
from jensen.families import Gaussian

Derivatives = tuple[Scalar, Float[Array, " d"], Float[Array, "d d"]]


class ExpectedDerivatives(eqx.Module):
    """How (E_q[log p], E_q[grad log p], E_q[hess log p]) are estimated for a Gaussian q."""

    @abc.abstractmethod
    def estimate(self, key: PRNGKey, q: Gaussian, target: Any) -> Derivatives:
        """The three expectations, shapes (), (d,) and (d, d)."""


class HessianDraws(ExpectedDerivatives):
    """E_q[hess log p] = mean of hess log p(z_b) over `num_draws` draws in antithetic pairs: d + 1 gradients a draw.

    Exact where log p is quadratic. For d up to about a hundred. Raises `InputError` unless `num_draws` is even.

    Source: Bonnet (1964); Price (1958); Opper and Archambeau (2009).
    """

    num_draws: int = eqx.field(static=True, default=16)

    def __check_init__(self):
        _even(self.num_draws)

    def estimate(self, key: PRNGKey, q: Gaussian, target: Any) -> Derivatives:
        return expected_derivatives(key, q, target, self.num_draws)


class GradientDraws(ExpectedDerivatives):
    """E_q[hess log p] = E_q[S^-1 (z - m) grad log p(z)^T] by `num_draws` antithetic draws, a gradient each.

    For larger d, and targets without second derivatives; its noise is that of d / num_draws, so take several times d
    draws. Raises `InputError` unless `num_draws` is even.

    Source: Stein (1981); Lin, Khan and Schmidt (2019), Stein's lemma for the reparameterization trick.
    """

    num_draws: int = eqx.field(static=True, default=256)

    def __check_init__(self):
        _even(self.num_draws)

    def estimate(self, key: PRNGKey, q: Gaussian, target: Any) -> Derivatives:
        return expected_derivatives_stein(key, q, target, self.num_draws)


def _even(num_draws: int) -> None:
    message = f"num_draws must be even and 2 or more, for draws come in pairs, got {num_draws}"
    require(num_draws >= 2 and num_draws % 2 == 0, message, InputError)
