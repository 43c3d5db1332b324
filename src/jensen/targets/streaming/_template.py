"""A target of some rows as a form into which other rows are put."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jensen.core import Compiled, InputError, JensenError, Locals, MissingCapability, PRNGKey, Rows, Space, Target
from jensen.targets._numpyro import NumPyroTarget
from jensen.targets._numpyro_rows import rows_of_plate

Places = tuple[tuple[int, str], ...]  # (number of a leaf, the column that it holds)


class WeightedRows(Target):
    """log p(z) = log_prior(z) + sum_i w_i log_likelihood(z)_i over the rows of `rows`, of `num_rows` in all."""

    rows: Any
    weights: Float[Array, " batch"]
    num_rows: int = eqx.field(static=True)

    @property
    def space(self) -> Space:
        return self.rows.space

    def log_prior(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        return self.rows.log_prior(z)

    def log_likelihood(self, z: Float[Array, " d"]) -> Float[Array, " batch"]:
        """One number a row held, so that N / B times their sum is the weighted one."""
        rows = self.rows.log_likelihood(z)
        return self.weights.astype(rows.dtype) * (rows.shape[0] / self.num_rows) * rows

    def log_density(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        rows = self.rows.log_likelihood(z)
        return self.log_prior(z) + self.weights.astype(rows.dtype) @ rows

    def minibatch(self, rows: Array) -> Target:
        raise MissingCapability("A streamed batch cannot be cut into minibatches: take a smaller batch_size instead")

    def start(self, key: PRNGKey) -> Float[Array, " d"]:
        return self.rows.start(key)

    def diagnose(self, z: Float[Array, " d"]) -> str:
        return self.rows.diagnose(z)


def put(template: Any, places: Places, columns: dict[str, Array]) -> Any:
    """The template with these rows in place of its own."""
    leaves, tree = jax.tree.flatten(template)
    for i, name in places:
        shape = (columns[name].shape[0], *leaves[i].shape[1:])
        leaves[i] = jnp.asarray(columns[name], leaves[i].dtype).reshape(shape)
    return jax.tree.unflatten(tree, leaves)


def weigh(target: Any, weights: Float[Array, " batch"], num_rows: int) -> Target:
    """A target of rows with weights; rows with latents of their own are as they are, for who sums over them scales."""
    if hasattr(target, "weighted"):
        return target.weighted(weights)
    weighted: Any = WeightedRows
    return weighted(target, weights, num_rows) if isinstance(target, Rows) else target


def pinned(target: Any, batch: int, num_rows: int) -> Any:
    """A target that `make` gave, seeing its rows in their order, and knowing how many there are in all.

    Raises `MissingCapability` for a target without rows.
    """
    if isinstance(target, NumPyroTarget):
        target = rows_of_plate(target, batch)
    if isinstance(target, Rows) and not hasattr(target, "weighted"):
        return target.minibatch(jnp.arange(batch))  # a NumPyro plate then sees them all, once each
    if isinstance(target, Rows):
        return target
    if isinstance(target, Locals):
        other = jax.tree.unflatten(jax.tree.structure(target), jax.tree.leaves(target))
        object.__setattr__(other, "num_rows", num_rows)
        return other
    raise MissingCapability(
        f"make gives a {type(target).__name__}, which has no rows: build it with targets.from_rows, or give the "
        f"NumPyro model exactly one plate, of the {batch} rows that it is given, around its observed sites and no other"
    )


def find_places(
    make: Callable[[dict[str, Array]], Target], first: dict[str, np.ndarray], second: dict[str, np.ndarray], n: int
) -> tuple[Any, Places]:
    """(the target of `first`, which of its arrays are which columns), by comparing it with the target of `second`.

    Raises `InputError` where `make` does more with the rows than hand them on: values made from one batch would stay in
    the target while batches change.
    """
    size = len(next(iter(first.values())))
    batches = [{name: jnp.asarray(values) for name, values in rows.items()} for rows in (first, second)]
    try:
        targets = [pinned(make(dict(batch)), size, n) for batch in batches]
    except JensenError:
        raise
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        told = ", ".join(f"{name} {a.dtype}{list(a.shape)}" for name, a in batches[0].items())
        raise InputError(f"make fails on rows of the columns {told}: {type(error).__name__}: {error}") from error
    leaves = [jax.tree.leaves(target) for target in targets]
    if len(leaves[0]) != len(leaves[1]):
        raise InputError("make gives targets of another structure for other rows: it must not look at their values")
    places, found = [], set()
    for i, pair in enumerate(zip(*leaves, strict=True)):
        name = _column_of(pair, batches)
        if name is not None:
            places.append((i, name))
            found.add(name)
        elif not _same(*pair):
            raise InputError(
                "make computes something from the rows that it is given (an array of the target changes with them and "
                "is no column): do that in the model, row by row, or beforehand for all rows"
            )
    missing = sorted(set(first) - found)
    if missing:
        raise InputError(
            f"Column {missing[0]!r} is not among the arrays of the target that make gives: hand it on as it is, as an "
            "argument of the model and not in a closure, or leave it out with columns=[...]"
        )
    swapped: Any = put(targets[0], tuple(places), batches[1])
    if hasattr(swapped, "log_likelihood"):
        z = swapped.start(jax.random.key(0))
        got, wanted = (np.asarray(_likelihood(target, z)) for target in (swapped, targets[1]))
        if not np.allclose(got, wanted, rtol=1e-4, atol=1e-4, equal_nan=True):
            raise InputError(
                "The target that make gives does not follow its arrays: rows are in a closure of the model, where they "
                "cannot be exchanged; pass them as data or arguments"
            )
    return targets[0], tuple(places)


@Compiled
def _likelihood(target: Any, z: Float[Array, " d"]) -> Float[Array, " batch"]:
    return target.log_likelihood(z)


def _column_of(pair: tuple[Any, Any], batches: list[dict[str, Array]]) -> str | None:
    """The column that an array of both targets holds: the same object, or in shape and values."""
    if not eqx.is_array(pair[0]) or jnp.issubdtype(pair[0].dtype, jax.dtypes.prng_key):
        return None
    for name in batches[0]:
        if pair[0] is batches[0][name] and pair[1] is batches[1][name]:
            return name
    held = [name for name in batches[0] if all(_holds(a, batch[name]) for a, batch in zip(pair, batches, strict=True))]
    if not held:
        return None
    if len(held) > 1 or _same(*pair):
        raise InputError(
            f"Column {held[0]!r} cannot be told from {repr(held[1]) if len(held) > 1 else 'a constant'} in the rows "
            "that were looked at: leave it out with columns=[...], or make it inside the model"
        )
    return held[0]


def _holds(array: Any, column: Array) -> bool:
    if array.shape[:1] != column.shape[:1] or array.size != column.size:
        return False
    return bool(np.array_equal(np.asarray(array).ravel(), np.asarray(column.astype(array.dtype)).ravel()))


def _same(a: Any, b: Any) -> bool:
    if not eqx.is_array(a):
        return eqx.is_array(b) is False
    if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
        a, b = jax.random.key_data(a), jax.random.key_data(b)
    return a.shape == b.shape and bool(np.array_equal(np.asarray(a), np.asarray(b), equal_nan=a.dtype.kind == "f"))
