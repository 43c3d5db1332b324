"""The unknowns of a model: their names, shapes and supports."""

import abc
import math
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jensen.core.errors import InputError
from jensen.core.support import Support, describe, real


class Variable(eqx.Module):
    """One unknown: its name, the shape of its value and the set that its value lies in."""

    name: str = eqx.field(static=True)
    shape: tuple[int, ...] = eqx.field(static=True)
    support: Support = eqx.field(default_factory=real)
    unconstrained_shape: tuple[int, ...] = eqx.field(static=True, init=False)

    def __post_init__(self):
        self.unconstrained_shape = self.support.unconstrained_shape(self.shape)

    @property
    def size(self) -> int:
        """Number of unconstrained coordinates."""
        return math.prod(self.unconstrained_shape)


class Program(eqx.Module):
    """What a model computes from unconstrained values beyond fixed bijections: model code, so it is never saved."""

    @abc.abstractmethod
    def constrain(self, values: dict[str, Array]) -> dict[str, Array]:
        """Constrained values and deterministic sites of unconstrained values; supports may depend on other unknowns."""

    @abc.abstractmethod
    def unconstrain(self, x: dict[str, Array]) -> dict[str, Array]:
        """Unconstrained values of the constrained values of every variable."""


class Space(eqx.Module):
    """Names, shapes and supports of the unknowns, flattened to one vector z in R^d.

    x = constrain(z) is a dict of values in their supports. With a `program` (a model whose supports depend on other
    unknowns, or with deterministic sites) `constrain` runs it, else each variable's own bijection.
    """

    variables: tuple[Variable, ...]
    program: Program | None = None

    def __check_init__(self):
        names = [v.name for v in self.variables]
        if not names:
            raise InputError("A space needs at least one unknown: the model has no latent variable")
        twice = {n for n in names if names.count(n) > 1}
        if twice:
            raise InputError(f"Names of unknowns must differ, repeated: {', '.join(sorted(twice))}")

    @property
    def dimension(self) -> int:
        """d, the number of unconstrained coordinates."""
        return sum(v.size for v in self.variables)

    @property
    def discrete(self) -> tuple[bool, ...]:
        """Of each coordinate of z, whether it holds a whole number."""
        return tuple(v.support.discrete for v in self.variables for _ in range(v.size))

    @property
    def discrete_names(self) -> tuple[str, ...]:
        """Names of the discrete unknowns."""
        return tuple(v.name for v in self.variables if v.support.discrete)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the unknowns, in the order of z."""
        return tuple(v.name for v in self.variables)

    def split(self, z: Float[Array, " d"]) -> dict[str, Array]:
        """The unconstrained array of each variable."""
        # one operation, whose derivative puts the parts together once: slices would each be padded to d and summed
        parts = jax.lax.split(jnp.asarray(z), [v.size for v in self.variables])
        return {v.name: part.reshape(v.unconstrained_shape) for v, part in zip(self.variables, parts, strict=True)}

    def join(self, values: Mapping[str, Array]) -> Float[Array, " d"]:
        """The inverse of `split`."""
        return jnp.concatenate([jnp.ravel(values[v.name]) for v in self.variables])

    def constrain(self, z: Float[Array, " d"]) -> dict[str, Array]:
        """x(z), a dict of values in their supports (and deterministic quantities, where the model has them)."""
        if self.program is not None:
            return self.program.constrain(self.split(z))
        parts = self.split(z)
        return {v.name: v.support.constrain(parts[v.name]) for v in self.variables}

    def unconstrain(self, x: Mapping[str, Any]) -> Float[Array, " d"]:
        """z of the values `x`, which must hold every variable of the space in its declared support.

        Raises `InputError` for a missing variable or a wrong shape.
        """
        given = {}
        for v in self.variables:
            if v.name not in x:
                raise InputError(f"No value given for {v.name!r}: the unknowns are {', '.join(self.names)}")
            value = jnp.asarray(x[v.name], dtype=jnp.result_type(float))
            if value.shape != v.shape:
                raise InputError(f"{v.name!r} must have shape {v.shape}, got {value.shape}")
            given[v.name] = value
        if self.program is not None:
            return self.join(self.program.unconstrain(given))
        return self.join({v.name: v.support.unconstrain(given[v.name]) for v in self.variables})

    def coordinate_names(self) -> tuple[str, ...]:
        """A name a coordinate of z: `beta[0]`, `beta[1]`, `log_sigma` ..."""
        names = []
        for v in self.variables:
            if v.unconstrained_shape == ():
                names.append(v.name)
            else:
                names.extend(f"{v.name}[{','.join(map(str, index))}]" for index in np.ndindex(v.unconstrained_shape))
        return tuple(names)

    def plain(self) -> "Space":
        """This space without its program: what can be saved."""
        return Space(self.variables)

    def describe(self) -> str:
        """One line an unknown: name, shape, support."""
        return "\n".join(f"{v.name}: shape {v.shape}, {describe(v.support)}" for v in self.variables)


def real_space(**shapes: tuple[int, ...]) -> Space:
    """A space of real arrays: `real_space(mu=(), beta=(3,))`."""
    return Space(tuple(Variable(name, shape) for name, shape in shapes.items()))
