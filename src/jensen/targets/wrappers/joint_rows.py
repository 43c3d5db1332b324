"""A target whose rows have latents of their own, with these among the unknowns."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jensen.core import InputError, Locals, MissingCapability, PRNGKey, Space, Target, Variable


class JointRows(Target):
    """log p(z, u_1, ..., u_N, data) = log_prior(z) + sum_i log p(x_i, u_i | z): nothing is integrated or approximated.

    `target` offers `Locals`. The unknowns are its own, and under `name` the latents of all rows, (N, k). A target with
    rows, for any method that takes a log density; under `Minibatched` the terms of the rows drawn count N/B, the
    latents of the others feel nothing in that step, and the mean over steps is the whole gradient, of shared unknowns
    and of latents alike. For row latents by an encoder, at a point in z, see `AmortisedVI`.

    Cost: memory and moves grow with N k. Methods that scale badly in the dimension (dense metrics, a Laplace) will not
    do for many rows.

    Raises `MissingCapability` for a target without latents of rows, `InputError` for a name that is taken.
    """

    target: Any
    rows: Int[Array, " b"]
    space: Space
    num_rows: int = eqx.field(static=True)
    size: int = eqx.field(static=True)

    def __init__(self, target: Any, name: str = "latents"):
        if not isinstance(target, Locals):
            raise MissingCapability(f"{type(target).__name__} has no latents of its rows: JointRows adds nothing to it")
        given: Any = target
        if name in given.space.names:
            raise InputError(f"The target has an unknown {name!r} already: JointRows(target, name=...)")
        z = jax.ShapeDtypeStruct((given.space.dimension,), jnp.result_type(float))
        first = jax.tree.map(lambda a: a[0], target.data)
        self.size = int(eqx.filter_eval_shape(target.local, z, first).space.dimension)
        self.target, self.num_rows = target, target.num_rows
        self.rows = jnp.arange(target.num_rows)
        variables = (*given.space.variables, Variable(name, (target.num_rows, self.size)))
        self.space = Space(variables, given.space.program)

    def split(self, z: Float[Array, " d"]) -> tuple[Float[Array, " s"], Float[Array, "rows k"]]:
        """(the shared unknowns, the latents of all rows)."""
        shared = self.target.space.dimension
        return z[:shared], z[shared:].reshape(self.num_rows, self.size)

    def join(self, z: Float[Array, " s"], latents: Float[Array, "rows k"]) -> Float[Array, " d"]:
        """The unknowns as one vector."""
        return jnp.concatenate([z, latents.reshape(-1)])

    def start(self, key: PRNGKey) -> Float[Array, " d"]:
        """The target's own start, and latents drawn from N(0, I)."""
        key_shared, key_latents = jax.random.split(key)
        z = self.target.start(key_shared)
        return self.join(z, jax.random.normal(key_latents, (self.num_rows, self.size), z.dtype))

    def log_prior(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        return self.target.log_prior(self.split(z)[0])

    def log_likelihood(self, z: Float[Array, " d"]) -> Float[Array, " b"]:
        """log p(x_i, u_i | z) of the rows held."""
        shared, latents = self.split(z)
        held = latents[self.rows]
        return jax.vmap(lambda row, u: self.target.local(shared, row).log_density(u))(self.target.data, held)

    def log_density(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        scale = self.num_rows / self.rows.shape[0]
        return self.log_prior(z) + scale * jnp.sum(self.log_likelihood(z))

    def minibatch(self, rows: Int[Array, " b"]) -> "JointRows":
        held = (self.target.minibatch(rows), self.rows[rows])
        return eqx.tree_at(lambda t: (t.target, t.rows), self, held)
