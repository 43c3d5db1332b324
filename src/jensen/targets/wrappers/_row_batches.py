"""What every way of seeing a target through some of its rows shares."""

import abc
from typing import Any

import equinox as eqx

from jensen.core import InputError, Locals, MissingCapability, PRNGKey, Rows, Space, Target


class RowBatches(eqx.Module):
    """A target of which `batch_size` rows are seen a step; which ones, the subclass says in `realise`.

    Raises `MissingCapability` if the target has no rows, `InputError` unless 1 <= batch_size <= number of rows.
    """

    target: Any
    batch_size: int = eqx.field(static=True)

    def __check_init__(self):
        if not isinstance(self.target, Rows | Locals):
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

    @abc.abstractmethod
    def realise(self, key: PRNGKey) -> Target:
        """The target through rows drawn with the key."""
