"""Some of the unknowns by a formula between steps, in place of gradients."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.algorithms.wrappers._wrapper import Wrapper
from jensen.core import Algorithm, Clock, MissingCapability, Posterior, PRNGKey, Space, Step

STREAM = 2  # tag of the draws that updates use


class ClosedUpdate(eqx.Module):
    """Where some of the shared unknowns go, given the others and rows: an M-step in closed form.

    `every`: steps from one update to the next.
    """

    every: eqx.AbstractVar[int]

    @abc.abstractmethod
    def names(self, target: Any) -> tuple[str, ...]:
        """Names, in the target's space, of the unknowns that this update owns. Raises `InputError` where it cannot."""

    @abc.abstractmethod
    def update(self, key: PRNGKey, z: Float[Array, " d"], conditional: Any, target: Any) -> dict[str, Array]:
        """New unconstrained values by name; z holds the owned unknowns as they were, and all others as they are."""


class Refreshed(Wrapper):
    """(z, phi) <- a step of `algorithm`, then z_j <- update(z, phi, rows) for the unknowns j that `closed` owns.

    For numbers that a formula gives better than a gradient does: the noise scale of a decoder, the variances of a
    prior. What the descent itself does to these unknowns is undone, so that they change by the formula alone, once in
    `closed.every` steps. A value that is not finite leaves them as they were.

    Args:
        algorithm: `AmortisedVI`, or another that keeps `z` and `conditional` in its state.
        closed: the update, such as `vae.RunningScale` or `vae.Relevance`.

    Raises `MissingCapability` for unknowns that the target does not have.

    Needs, gives: as the wrapped algorithm. Source: the M-steps of Dempster, Laird and Rubin (1977), between gradient
    steps.
    """

    algorithm: Algorithm
    closed: ClosedUpdate

    def check(self, target: Any) -> None:
        self.algorithm.check(target)
        unknown = set(self.closed.names(target)) - set(target.space.names)
        if unknown:
            raise MissingCapability(
                f"{type(self.closed).__name__} updates {', '.join(sorted(unknown))}, and the target trains "
                f"{', '.join(target.space.names)} alone: make that part of the model trainable"
            )

    def init(self, key: PRNGKey, target: Any, start: Posterior) -> Any:
        return self.algorithm.init(key, target, start)

    def step(self, key: PRNGKey, state: Any, target: Any, clock: Clock) -> tuple[Any, Step]:
        moved, step = self.algorithm.step(key, state, target, clock)
        space, owned = target.space, self.closed.names(target)
        before = space.split(state.z)
        z = space.join(space.split(moved.z) | {name: before[name] for name in owned})

        def renewed() -> Float[Array, " d"]:
            fresh = jax.random.fold_in(key, STREAM)
            values = self.closed.update(fresh, z, moved.conditional, target)
            found = space.join(space.split(z) | values).astype(z.dtype)
            return jnp.where(jnp.isfinite(found), found, z)

        if self.closed.every == 1:
            z = renewed()
        else:
            z = jax.lax.cond((clock.t + 1) % self.closed.every == 0, renewed, lambda: z)
        return eqx.tree_at(lambda s: s.z, moved, z), step

    def loss(self, key: PRNGKey, state: Any, target: Any) -> Float[Array, ""]:
        """As the wrapped algorithm's: what `EarlyStopping` looks at."""
        inner: Any = self.algorithm
        return inner.loss(key, state, target)

    def posterior(self, state: Any, draws: Any, space: Space) -> Posterior:
        return self.algorithm.posterior(state, draws, space)
