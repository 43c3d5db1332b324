"""A target seen through random rows."""

import jax
from jaxtyping import Array, Int

from jensen.core import PRNGKey, Target
from jensen.targets.wrappers._row_batches import RowBatches

SHUFFLE = 10_000  # rows up to which drawing without replacement (a sort of all of them) is cheap next to a gradient


class Minibatched(RowBatches):
    """log p_B(z) = log prior(z) + N/B sum_{i in B} log p(y_i | z) for a fresh set B of `batch_size` rows each step.

    E_B[log p_B] = log p. Rows are drawn without replacement up to 10,000 rows, else uniformly with replacement (the
    same mean, a variance larger by less than B/N). The scaling N/B is the target's own (`minibatch`).

    Algorithms that take estimates (`GradientVI`) run on it as on any target; those that need exact densities refuse it.
    Certificates are computed on `exact`.

    Raises `MissingCapability` if the target has no rows, `InputError` unless 1 <= batch_size <= number of rows.

    Source: Hoffman, Blei, Wang and Paisley (2013).
    """

    def realise(self, key: PRNGKey) -> Target:
        return self.target.minibatch(draw_rows(key, self.target.num_rows, self.batch_size))


def draw_rows(key: PRNGKey, num_rows: int, batch_size: int) -> Int[Array, " batch"]:
    """Indices of `batch_size` rows, each uniform."""
    return jax.random.choice(key, num_rows, (batch_size,), replace=num_rows > SHUFFLE)
