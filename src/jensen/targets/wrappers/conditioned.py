"""A target with some of its unknowns fixed."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jensen.core import InputError, PRNGKey, Program, Space, Target, UnknownName, Variable
from jensen.core.support import describe


class Filled(Program):
    """Runs the inner space's program with the fixed unknowns put back."""

    inner: Space
    fixed: dict[str, Array]

    def constrain(self, values: dict[str, Array]) -> dict[str, Array]:
        return self.inner.constrain(self.inner.join(self.fixed | values))

    def unconstrain(self, x: dict[str, Array]) -> dict[str, Array]:
        inner = {v.name: v for v in self.inner.variables}
        fixed = {name: inner[name].support.constrain(u) for name, u in self.fixed.items()}
        values = self.inner.split(self.inner.unconstrain(fixed | x))
        return {name: value for name, value in values.items() if name not in self.fixed}


class Conditioned(Target):
    """p(x_rest | x_fixed = values, data), unnormalised: log p(x_rest, x_fixed, data) as a function of the rest alone.

    The values are those of the model (constrained); the log Jacobian of their unconstrained coordinates is taken out,
    so that the evidence of this target is p(x_fixed, data).

    Raises `UnknownName` for a name that is no unknown; `InputError` for a wrong shape, a value outside its support, a
    support that depends on other unknowns, or if nothing is left to infer.
    """

    target: Target
    fixed: dict[str, Array]
    log_jacobian: Float[Array, ""]
    space: Space

    def __init__(self, target: Target, values: Mapping[str, Any]):
        variables = {v.name: v for v in target.space.variables}
        real = jnp.result_type(float)
        fixed, log_jacobian = {}, jnp.zeros((), real)
        for name, value in values.items():
            if name not in variables:
                raise UnknownName("unknown of the model", name, variables)
            fixed[name], term = _unconstrain(variables[name], jnp.asarray(value, real))
            log_jacobian = log_jacobian + term
        rest = tuple(v for name, v in variables.items() if name not in fixed)
        if not rest:
            raise InputError("All unknowns are fixed: leave at least one to infer")
        dynamic = [v.name for v in rest if any(bool(np.any(np.isnan(b))) for b in v.support.bounds)]
        if dynamic:
            raise InputError(
                f"The support of {dynamic[0]!r} depends on other unknowns: condition inside the model instead"
            )
        self.target, self.fixed, self.log_jacobian = target, fixed, log_jacobian
        self.space = Space(rest, None if target.space.program is None else Filled(target.space, fixed))

    def _full(self, z: Float[Array, " d"]) -> Float[Array, " n"]:
        inner = self.target.space
        return inner.join(jax.tree.map(lambda a: a.astype(z.dtype), self.fixed) | self.space.split(z))

    def log_density(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        return self.target.log_density(self._full(z)) - self.log_jacobian.astype(z.dtype)

    def start(self, key: PRNGKey) -> Float[Array, " d"]:
        return self.space.join(self.target.space.split(self.target.start(key)))

    def predict(self, key: PRNGKey, z: Float[Array, " d"]) -> dict[str, Array]:
        return self.target.predict(key, self._full(z))

    def observed(self) -> dict[str, Array]:
        return self.target.observed()

    def diagnose(self, z: Float[Array, " d"]) -> str:
        return self.target.diagnose(self._full(z))


def _unconstrain(variable: Variable, value: Array) -> tuple[Array, Array]:
    """(u, log |dx/du|) of a value, checked at the door."""
    if value.shape != variable.shape:
        raise InputError(f"{variable.name!r} must have shape {variable.shape}, got {value.shape}")
    if variable.support.kind == "real" or variable.support.discrete:
        u, term = value, jnp.zeros((), value.dtype)
    else:
        u = variable.support.unconstrain(value)
        term = jnp.sum(variable.support.bijection().log_abs_det_jacobian(u, value))
    if variable.support.discrete and not bool(jnp.all(variable.support.holds(value))):
        raise InputError(f"The value of {variable.name!r} does not lie in its support {describe(variable.support)}")
    if not bool(np.all(np.isfinite(u))):
        raise InputError(
            f"The value of {variable.name!r} is not finite, or not inside its support {variable.support.kind}"
        )
    return u, term
