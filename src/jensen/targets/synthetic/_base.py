"""What every synthetic target offers: its truth."""

import abc

import equinox as eqx
from jaxtyping import Array, Float

from jensen.core import PRNGKey, Scalar, Target


class SyntheticTarget(Target):
    """A target whose answers are known exactly, for tests and benchmarks.

    `log_evidence`: log Z = log int exp(log_density), in nats. `exact_draws(key, n)`: independent draws of
    the normalised density, shape (n, d). `mean_and_cov()`: its exact moments.
    """

    log_evidence: eqx.AbstractVar[Scalar]

    @abc.abstractmethod
    def exact_draws(self, key: PRNGKey, n: int) -> Float[Array, "n d"]:
        """`n` independent exact draws, shape (n, d)."""

    @abc.abstractmethod
    def mean_and_cov(self) -> tuple[Float[Array, " d"], Float[Array, "d d"]]:
        """Exact mean and covariance."""
