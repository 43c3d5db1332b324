"""Points between a Gaussian and a target, and the Hamiltonian move that leaves a tempered density where it is."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import PRNGKey, Scalar
from jensen.families import Gaussian
from jensen.families.bijective import log_standard_normal


class Particles(eqx.Module):
    """Points u in the reference's own coordinates, z = m + L u, with log p(z(u)) |det L| and its gradient in u.

    There the reference is N(0, I), so that tempering costs no triangular solve. Leading axis n.
    """

    u: Float[Array, "*n d"]
    log_density: Float[Array, "*n"]
    gradient: Float[Array, "*n d"]


def evaluate(target: Any, reference: Gaussian, u: Float[Array, "n d"]) -> Particles:
    """The points u with what the target says of them."""

    def pulled_back(u: Float[Array, " d"]) -> Float[Array, ""]:
        z, log_det = reference.transform(u)
        return target.log_density(z) + log_det

    return Particles(u, *jax.vmap(jax.value_and_grad(pulled_back))(u))


class Move(eqx.Module):
    """A Hamiltonian trajectory of every particle, invariant for log p_t(u) = (1 - t) log N(u; 0, I) + t log p(z(u)).

    `scale`: a factor of the particles' covariance, by which momenta are turned into moves.
    """

    reference: Gaussian
    temperature: Scalar
    scale: Float[Array, "d d"]
    leapfrog_steps: int = eqx.field(static=True)

    def tempered(self, p: Particles) -> tuple[Float[Array, " n"], Float[Array, "n d"]]:
        """log p_t, and its slope along the columns of `scale`."""
        t = self.temperature
        value = (1 - t) * jax.vmap(log_standard_normal)(p.u) + t * p.log_density
        return value, (t * p.gradient - (1 - t) * p.u) @ self.scale

    def __call__(
        self, key: PRNGKey, before: Particles, target: Any, log_step: Scalar
    ) -> tuple[Particles, Float[Array, " n"]]:
        """The particles after it, and the probability with which each was to be accepted."""
        n, d = before.u.shape
        key_momentum, key_length, key_accept = jax.random.split(key, 3)
        # a step size of its own for each particle: no length of trajectory is in resonance with all of them
        step = jnp.exp(log_step) * jax.random.uniform(key_length, (n, 1), before.u.dtype, 0.5, 1.0)
        momentum = jax.random.normal(key_momentum, (n, d), before.u.dtype)
        value, slope = self.tempered(before)
        energy = value - 0.5 * jnp.sum(momentum**2, 1)

        def leapfrog(carry: tuple[Particles, Array, Array], _: None) -> tuple[tuple[Particles, Array, Array], None]:
            p, momentum, slope = carry
            momentum = momentum + 0.5 * step * slope
            p = evaluate(target, self.reference, p.u + step * (momentum @ self.scale.T))
            slope = self.tempered(p)[1]
            return (p, momentum + 0.5 * step * slope, slope), None

        (after, momentum, _), _ = jax.lax.scan(leapfrog, (before, momentum, slope), length=self.leapfrog_steps)
        error = self.tempered(after)[0] - 0.5 * jnp.sum(momentum**2, 1) - energy
        probability = jnp.exp(jnp.minimum(jnp.where(jnp.isnan(error), -jnp.inf, error), 0.0))
        accept = jax.random.uniform(key_accept, (n,), before.u.dtype) < probability
        kept = jax.tree.map(lambda a, b: jnp.where(accept.reshape(n, *[1] * (a.ndim - 1)), a, b), after, before)
        return kept, probability
