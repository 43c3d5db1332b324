"""A target seen through random rows."""

from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, Int

from jensen.core import InputError, MissingCapability, PRNGKey, Rows, Space, Target

SHUFFLE = 10_000  # rows up to which drawing without replacement (a sort of all of them) is cheap next to a gradient


class Minibatched(eqx.Module):
    """log p_B(z) = log prior(z) + N/B sum_{i in B} log p(y_i | z) for a fresh set B of `batch_size` rows each step.

    E_B[log p_B] = log p. Rows are drawn without replacement up to 10,000 rows, else uniformly with replacement (the
    same mean, a variance larger by less than B/N). The scaling N/B is the target's own (`minibatch`).

    Algorithms that take estimates (`GradientVI`) run on it as on any target; those that need exact densities refuse it.
    Certificates are computed on `exact`.

    Raises `MissingCapability` if the target has no rows, `InputError` unless 1 <= batch_size <= number of rows.

    Source: Hoffman, Blei, Wang and Paisley (2013).
    """

    target: Any
    batch_size: int = eqx.field(static=True)

    def __check_init__(self):
        if not isinstance(self.target, Rows):
            raise MissingCapability(
                f"{type(self.target).__name__} has no rows to draw minibatches of: build it with targets.from_rows, or "
                "give the NumPyro model exactly one plate with subsample_size around its observed sites"
            )
        if not 1 <= self.batch_size <= self.target.num_rows:
            raise InputError(f"batch_size must lie between 1 and {self.target.num_rows} rows, got {self.batch_size}")

    @property
    def exact(self) -> Target:
        return self.target

    @property
    def space(self) -> Space:
        """Of the exact target."""
        return self.target.space

    def realise(self, key: PRNGKey) -> Target:
        return self.target.minibatch(draw_rows(key, self.target.num_rows, self.batch_size))


def draw_rows(key: PRNGKey, num_rows: int, batch_size: int) -> Int[Array, " batch"]:
    """Indices of `batch_size` rows, each uniform."""
    return jax.random.choice(key, num_rows, (batch_size,), replace=num_rows > SHUFFLE)
