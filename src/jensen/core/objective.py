"""Estimates, gradient estimators and objectives: what is made small, and how its gradient is had."""

import abc
from collections.abc import Callable
from typing import Any, Self

import equinox as eqx
from jaxtyping import Array, Float

from jensen.core.family import Family
from jensen.core.random import PRNGKey


class Estimate(eqx.Module):
    """A Monte Carlo estimate of an expectation.

    `value`: the estimate, in nats for divergences and bounds. `surrogate`: a scalar whose gradient with respect to q's
    parameters is an unbiased estimate of the expectation's gradient (its value may differ). `standard_error`: of
    `value`.
    """

    value: Float[Array, ""]
    surrogate: Float[Array, ""]
    standard_error: Float[Array, ""]


class GradientEstimator(eqx.Module):
    """How an expectation under q is differentiated with respect to q's parameters."""

    needs: eqx.AbstractClassVar[type]

    @abc.abstractmethod
    def expectation(self, key: PRNGKey, q: Any, f: Callable[[Any, Float[Array, " d"]], Float[Array, ""]]) -> Estimate:
        """E_{z ~ q}[f(q, z)] with a surrogate for its gradient; f may depend on q through its first argument."""


class Objective(eqx.Module):
    """What is made small over q.

    `bound` declares what the negative of its value is of the log evidence: "lower", "upper" or None.
    """

    bound: eqx.AbstractClassVar[str | None]

    @abc.abstractmethod
    def loss(self, key: PRNGKey, q: Family, target: Any) -> Estimate:
        """The objective at q, in nats, with a surrogate for its gradient."""

    def at(self, clock: Any) -> Self:
        """The objective of the step that `clock` shows: itself, unless it changes along a run."""
        return self


class BatchObjective(eqx.Module):
    """What is made small over a conditional q(z | x), row by row, where a row's term needs the rest of its minibatch.

    For terms of the aggregate posterior (1/N) sum_i q(z | x_i), and for all that must see the conditional itself.
    """

    bound: eqx.AbstractClassVar[str | None]

    @abc.abstractmethod
    def losses(self, key: PRNGKey, conditional: Any, rows: Any, local: Callable[[Any], Any], num_rows: int) -> Estimate:
        """The terms of the rows of a minibatch, in nats, each array of shape (rows,).

        `rows`: a PyTree with a leading axis. `local(row)`: the target of one row's latents. `num_rows`: N, of all rows.
        """

    def at(self, clock: Any) -> Self:
        """The objective of the step that `clock` shows: itself, unless it changes along a run."""
        return self
