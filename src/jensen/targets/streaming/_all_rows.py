"""All the rows of a streamed target: its exact log density, by passes over the data."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jensen.core import Compiled, InputError, MissingCapability, PRNGKey, Rows, Space, Target, in_batches
from jensen.targets.streaming._feeder import Feeder
from jensen.targets.streaming._template import Places, put

POINTS = 50  # at which rows are looked at together
Points = Float[Array, "n d"] | Float[np.ndarray, "n d"]
SWEEP = 2**24  # bytes of rows handed over at a time
SOME = 4096  # rows, at least, that stand for all where modes are looked for


class SomeRows(Target):
    """log p through several batches of rows, their log likelihood scaled to all N: prior + N / held sum."""

    template: Any
    columns: dict[str, Array]
    places: Places = eqx.field(static=True)
    num_rows: int = eqx.field(static=True)

    @property
    def space(self) -> Space:
        return self.template.space

    @property
    def held(self) -> int:
        """Rows in memory."""
        return math.prod(next(iter(self.columns.values())).shape[:2])

    def log_density(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        one = lambda columns: jnp.sum(put(self.template, self.places, columns).log_likelihood(z))  # noqa: E731
        return self.template.log_prior(z) + self.num_rows / self.held * jnp.sum(jax.lax.map(one, self.columns))

    def start(self, key: PRNGKey) -> Float[Array, " d"]:
        return self.template.start(key)


class AllRows(Target):
    """log p(z) = log_prior(z) + sum of log_likelihood(z) over all N rows of a source, which are read for it.

    Nothing of it can be traced: `log_densities(z)` gives the values at many points, `curvatures(z)` gradients and
    Hessians too, each by one pass over all rows. Sums are of differences from the first point, row by row, and in
    double precision across batches, so that single precision does not blur how points compare.
    """

    template: Any
    places: Places = eqx.field(static=True)
    feeder: Feeder = eqx.field(static=True)

    @property
    def num_rows(self) -> int:
        """N."""
        return self.feeder.source.num_rows

    @property
    def space(self) -> Space:
        return self.template.space

    def log_density(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        """At one point, by a pass; raises `MissingCapability` where it would be traced."""
        if isinstance(z, jax.core.Tracer):
            raise MissingCapability(
                "The rows of a streamed target are not in memory, and its exact log density cannot be compiled: use a "
                "method that takes minibatches (`jensen methods`) on the Streamed target itself"
            )
        return jnp.asarray(self.log_densities(z[None])[0])

    def log_prior(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        return self.template.log_prior(z)

    def log_likelihood(self, z: Float[Array, " d"]) -> Float[Array, " batch"]:
        raise MissingCapability("The log likelihoods of all rows of a streamed target do not fit into memory")

    def minibatch(self, rows: Int[Array, " batch"]) -> Target:
        raise MissingCapability("Rows of a streamed target cannot be picked by number: see jensen.targets.Streamed")

    def start(self, key: PRNGKey) -> Float[Array, " d"]:
        return self.template.start(key)

    def diagnose(self, z: Float[Array, " d"]) -> str:
        return self.template.diagnose(z)

    @property
    def some(self) -> SomeRows:
        """A few thousand rows, or all that one window holds if that is fewer."""
        count = min(-(-SOME // self.feeder.rows), self.feeder.feed_length)
        columns, _ = self.feeder.of_first().batches((3,), 0, count, count)
        held = {name: jnp.asarray(values) for name, values in columns.items()}
        some: Any = SomeRows
        return some(self.template, held, self.places, self.num_rows)

    def log_densities(self, z: Points) -> np.ndarray:
        """log p at n points, shape (n,), double precision, by one pass."""
        return self._pass(_values, z)[0]

    def curvatures(self, z: Points) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(log p, gradients (n, d), Hessians (n, d, d)) at n points, by one pass."""
        value, gradient, hessian = self._pass(_curvatures, z)
        return value, gradient, hessian

    def _pass(self, fn: Any, z: Points) -> tuple[np.ndarray, ...]:
        if not isinstance(self.template, Rows):
            raise MissingCapability(
                f"The rows of a {type(self.template).__name__} have latents of their own: their log likelihood is an "
                "integral that is not computed"
            )
        z = jnp.asarray(z)
        if z.ndim != 2 or z.shape[1] != self.space.dimension:
            raise InputError(f"z must have shape (n, {self.space.dimension}), got {z.shape}")
        batches = -(-sum(self.feeder.order.sizes) // self.feeder.rows)  # more would be rows of weight zero
        size = max(1, min(batches, SWEEP // max(1, self.feeder.source.row_bytes * self.feeder.rows)))
        reference, total = 0.0, None
        for columns, weights in self.feeder.sweep(size):
            base, parts = fn(self.template, self.places, jax.tree.map(jnp.asarray, columns), jnp.asarray(weights), z)
            reference += float(base)
            parts = [np.asarray(part, np.float64) for part in parts]
            total = parts if total is None else [a + b for a, b in zip(total, parts, strict=True)]
        assert total is not None  # a source has rows
        if self.feeder.processes > 1:
            reference, total = float(_summed(np.asarray(reference))), [_summed(part) for part in total]
        prior = [np.asarray(part, np.float64) for part in _prior(self.template, z, len(total))]
        total[0] = total[0] + reference
        return tuple(a + b for a, b in zip(total, prior, strict=True))


def _summed(part: np.ndarray) -> np.ndarray:
    """Summed over processes, in double precision whatever JAX's own is."""
    from jax.experimental.multihost_utils import process_allgather

    words = np.ascontiguousarray(part, np.float64).reshape(-1).view(np.uint32)
    each = np.ascontiguousarray(process_allgather(words)).reshape(jax.process_count(), -1)
    return np.sum(each.view(np.float64), 0).reshape(part.shape)


def _sum(rows: Any, places: Places, columns: Any, weights: Any, z: Any, fn: Any) -> Any:
    """Sums over batches of `fn(weighted sum of a batch as a function of z)`."""

    def one(batch: Any) -> Any:
        columns, weights = batch
        seen = put(rows, places, columns)
        base = seen.log_likelihood(z[0])

        def differences(z: Array) -> Array:
            likelihoods = seen.log_likelihood(z)
            return weights.astype(likelihoods.dtype) @ (likelihoods - base)

        return weights.astype(base.dtype) @ base, in_batches(lambda z: fn(differences, z), z, POINTS)

    return jax.lax.map(one, (columns, weights))


@Compiled
def _values(rows: Any, places: Places, columns: Any, weights: Any, z: Any) -> Any:
    base, values = _sum(rows, places, columns, weights, z, lambda f, z: f(z))
    return jnp.sum(base), (jnp.sum(values, 0),)


@Compiled
def _curvatures(rows: Any, places: Places, columns: Any, weights: Any, z: Any) -> Any:
    base, parts = _sum(rows, places, columns, weights, z, lambda f, z: (f(z), jax.grad(f)(z), jax.hessian(f)(z)))
    return jnp.sum(base), tuple(jnp.sum(part, 0) for part in parts)


@Compiled
def _prior(rows: Any, z: Any, order: int) -> Any:
    f = rows.log_prior
    values = (jax.vmap(f)(z),)
    return values if order == 1 else (*values, jax.vmap(jax.grad(f))(z), jax.vmap(jax.hessian(f))(z))
