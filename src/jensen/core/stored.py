"""Draws kept with their values in the model's own coordinates: what is left of a posterior without its model."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jensen.core.errors import InputError
from jensen.core.family import Density
from jensen.core.posterior import Posterior
from jensen.core.random import PRNGKey, check_key
from jensen.core.space import Space


class StoredPosterior(Posterior):
    """Draws z of shape (n, d) and, row by row, the values of every site (also deterministic ones), leading axis n.

    Loading a fit gives one where the values cannot be computed again without the model: its supports depend on other
    unknowns, it has deterministic sites, or the family of q is not one of Jensen's. `space` has no program. `chains`
    chains of n / chains draws lie one after the other. `q` is the density on R^d, where there was one; `origin` the
    class of the posterior that was saved.
    """

    space: Space
    z: Float[Array, "n d"]
    values: dict[str, Array]
    diverging: Bool[Array, " n"] | None = None
    q: Density | None = None
    chains: int = eqx.field(static=True, default=1)
    origin: str = eqx.field(static=True, default="")

    def _choose(self, key: PRNGKey, n: int) -> Array:
        size = self.z.shape[0]
        return jax.random.choice(key, size, (n,), replace=n > size)

    def sample_z(self, key: PRNGKey, n: int) -> Float[Array, "n d"]:
        """`n` of the draws: without repetition while there are enough, else with."""
        return self.z[self._choose(key, n)]

    def sample(self, key: PRNGKey, n: int) -> dict[str, Array]:
        """The values at the draws that `sample_z` gives for this key. Raises `InputError` for n < 1 or a bad key."""
        if n < 1:
            raise InputError(f"The number of draws must be at least 1, got {n}")
        rows = self._choose(check_key(key), n)
        return {name: value[rows] for name, value in self.values.items()}

    def log_prob(self, z: Float[Array, "*n d"]) -> Float[Array, "*n"]:
        if self.q is None:
            return super().log_prob(z)
        z = jnp.asarray(z)
        return jax.vmap(self.q.log_prob)(z) if z.ndim == 2 else self.q.log_prob(z)

    def mean_and_cov(self) -> tuple[Float[Array, " d"], Float[Array, "d d"]]:
        """Of the draws."""
        return jnp.mean(self.z, 0), jnp.atleast_2d(jnp.cov(self.z, rowvar=False))

    def by_chain(self) -> dict[str, Any]:
        """The values with leading axes (chains, n / chains)."""
        return {name: value.reshape(self.chains, -1, *value.shape[1:]) for name, value in self.values.items()}
