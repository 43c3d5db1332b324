"""Training on simulated pairs: the forward divergence, averaged over data."""

import math
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import Estimate, InputError, Objective, PRNGKey, Space, Target


class SimulatedPairs(Target):
    """p(z, data) seen through simulated pairs alone: what `SimulatedKL` asks for, and all that it asks for.

    The log density is not known, and NaN: methods that need it find no start. `held_out`: pairs (z, data), leading axis
    pairs, on which the objective's value is measured instead, or None.
    """

    simulator: Any
    held_out: Any = None

    @property
    def space(self) -> Space:
        return self.simulator.space

    def simulate(self, key: PRNGKey) -> tuple[Float[Array, " d"], Any]:
        """A pair (z, data)."""
        return self.simulator.simulate(key)

    def log_density(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        return jnp.full((), jnp.nan, z.dtype)

    def diagnose(self, z: Float[Array, " d"]) -> str:
        return "simulated pairs have no log density (train by jensen.amortised.amortise)"


class SimulatedKL(Objective):
    """E_{z, data ~ p}[-log q(z | data)] = E_data KL(p(z | data) || q(z | data)) + H(z | data), in nats.

    Its minimum over all q is the exact posterior of every data set: the forward divergence, which covers all of the
    posterior's mass. Only simulations are needed, no likelihood. The entropy H does not depend on q; the value is no
    bound on any evidence.

    `batch_size` fresh pairs a step. Where the target holds pairs out, the value (not the gradient) is theirs, so that
    `BestSoFar` keeps the weights that generalise best.

    Source: Papamakarios and Murray (2016), neural posterior estimation; Müller et al. (2022), prior-data fitting.
    """

    bound: ClassVar[str | None] = None
    batch_size: int = eqx.field(static=True, default=128)

    def __check_init__(self):
        if self.batch_size < 1:
            raise InputError(f"batch_size must be at least 1, got {self.batch_size}")

    def loss(self, key: PRNGKey, q: Any, target: Any) -> Estimate:
        if not hasattr(target, "simulate") or not hasattr(q, "given"):
            raise InputError(
                f"SimulatedKL wants a target that simulates and a conditional q(z | data), got {type(target).__name__} "
                f"and {type(q).__name__}: use `jensen.amortised.amortise`"
            )

        def miss(z: Float[Array, " d"], data: Any) -> Float[Array, ""]:
            return -q.given(data).log_prob(z)

        values = jax.vmap(miss)(*jax.vmap(target.simulate)(jax.random.split(key, self.batch_size)))
        surrogate = jnp.mean(values)
        if getattr(target, "held_out", None) is not None:
            values = jax.lax.stop_gradient(jax.vmap(miss)(*target.held_out))
        n = values.shape[0]
        error = jnp.std(values, ddof=1) / math.sqrt(n) if n > 1 else jnp.full((), jnp.nan, values.dtype)
        return Estimate(jnp.mean(values), surrogate, error)
