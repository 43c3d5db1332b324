"""Families that are a bijection of standard normal noise: what preconditions a target."""

import abc
import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import PRNGKey, Reparameterised

_LOG_2PI = math.log(2 * math.pi)


class Bijective(Reparameterised):
    """The distribution of z = T(u), u ~ N(0, I_d), with T a bijection of R^d.

    log q(z) = log N(u; 0, I) - log |det dT/du| at u = T^-1(z). A class gives `dimension`, `transform` and `inverse`;
    the rest of a `Reparameterised` density follows. `targets.Transformed` takes any of them as coordinates.
    """

    @abc.abstractmethod
    def transform(self, u: Float[Array, " d"]) -> tuple[Float[Array, " d"], Float[Array, ""]]:
        """T(u) and log |det dT/du|."""

    @abc.abstractmethod
    def inverse(self, z: Float[Array, " d"]) -> Float[Array, " d"]:
        """u = T^-1(z)."""

    def noise(self, key: PRNGKey) -> Float[Array, " d"]:
        return jax.random.normal(key, (self.dimension,), jnp.result_type(float))

    def from_noise(self, eps: Float[Array, " d"]) -> Float[Array, " d"]:
        return self.transform(eps)[0]

    def log_prob(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        u = self.inverse(z)
        return log_standard_normal(u) - self.transform(u)[1]

    def from_noise_and_log_prob(self, eps: Float[Array, " d"]) -> tuple[Float[Array, " d"], Float[Array, ""]]:
        # one forward pass: d/d(parameters) of this is that of log q(z(eps)) along the path, for T^-1(T(eps)) = eps
        z, log_det = self.transform(eps)
        return z, log_standard_normal(eps) - log_det

    def from_noise_and_score(
        self, eps: Float[Array, " d"]
    ) -> tuple[Float[Array, " d"], Float[Array, ""], Float[Array, " d"]]:
        """z(eps), log q(z) and grad_z log q(z) at fixed parameters; override where a forward pass gives all (flows)."""
        z, log_q = self.from_noise_and_log_prob(eps)
        return z, log_q, jax.grad(self.log_prob)(z)


def log_standard_normal(u: Float[Array, " d"]) -> Float[Array, ""]:
    """log N(u; 0, I)."""
    return -0.5 * (jnp.sum(u**2) + u.shape[0] * _LOG_2PI)


@eqx.filter_jit
def round_trip_errors(key: PRNGKey, q: Bijective, num_draws: int = 1000) -> Float[Array, " n"]:
    """max_i |T^-1(T(u))_i - u_i| of each of `num_draws` draws u ~ N(0, I).

    A density found by an inverse that loses digits is wrong by about as much: a bound that uses it may exceed the
    evidence.
    """
    u = jax.vmap(q.noise)(jax.random.split(key, num_draws))
    return jax.vmap(lambda u: jnp.max(jnp.abs(q.inverse(q.transform(u)[0]) - u)))(u)
