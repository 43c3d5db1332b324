"""A target without its discrete unknowns."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jensen.core import PRNGKey, Program, Space, Target
from jensen.targets._cells import sums_of
from jensen.targets._sums import Sums, key_of


class Completed(Program):
    """Runs the inner space with discrete unknowns drawn from p(d | z), by a key that is made of the bits of z.

    Draws of z that differ have draws of d that are independent given z; the same z has the same d.
    """

    sums: Sums

    def constrain(self, values: dict[str, Array]) -> dict[str, Array]:
        z = jnp.concatenate([jnp.ravel(value) for value in values.values()])
        return self.sums.space.constrain(self.sums.draw(key_of(z), z))

    def unconstrain(self, x: dict[str, Array]) -> dict[str, Array]:
        inner = self.sums.space
        given = inner.split(self.sums.target.start(jax.random.key(0)))
        fixed = {v.name: given[v.name] for v in inner.variables if v.support.discrete}
        values = inner.split(inner.unconstrain(fixed | x))
        return {name: value for name, value in values.items() if name not in fixed}


class Enumerated(Target):
    """log p(z) = log sum_d p(z, d) over all values of the discrete unknowns d, exactly; z is the continuous rest.

    Where the discrete sites of a NumPyro model lie in plates and the model is independent over these, the sum is taken
    cell by cell: n rows with one of k components each cost k evaluations of the model, not k^n. That the model is
    independent is not believed but tried out, at sixteen random points; else the sum is over the joint support. The
    evidence is that of `target`. Draws of a posterior come with d ~ p(d | z), under the names of the model.

    Raises `InputError` if no unknown is discrete, a support is not finite, or the sum has more than 4,096 terms (it
    says how many); `MissingCapability` if no unknown is continuous.
    """

    sums: Sums

    def __init__(self, target: Target):
        self.sums = sums_of(target)

    @property
    def target(self) -> Target:
        """The target with its discrete unknowns."""
        return self.sums.target

    @property
    def space(self) -> Space:
        variables = tuple(v for v in self.sums.space.variables if not v.support.discrete)
        return Space(variables, Completed(self.sums))

    def log_density(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        return self.sums.log_density(z)

    def start(self, key: PRNGKey) -> Float[Array, " d"]:
        return self.target.start(key)[np.flatnonzero(~np.array(self.sums.space.discrete))]

    def posterior_discrete(self, key: PRNGKey, z: Float[Array, " d"]) -> dict[str, Array]:
        """d ~ p(d | z, data), a dict of whole numbers by the names of the sites."""
        x = self.sums.space.constrain(self.sums.draw(key, z))
        return {name: x[name] for name in self.sums.space.discrete_names}

    def predict(self, key: PRNGKey, z: Float[Array, " d"]) -> dict[str, Array]:
        key_discrete, key_data = jax.random.split(key)
        return self.target.predict(key_data, self.sums.draw(key_discrete, z))

    def observed(self) -> dict[str, Array]:
        return self.target.observed()

    def diagnose(self, z: Float[Array, " d"]) -> str:
        first = self.sums.everywhere(self.sums.inner[0])
        return self.target.diagnose(self.sums.fill(z, self.sums.outer[0], first))


def enumerated(target: Any) -> Any:
    """`target` without its discrete unknowns, or itself where it has none. Raises as `Enumerated` does."""
    return Enumerated(target) if target.space.discrete_names else target
