"""K independent draws of a family as one draw of R^(K d)."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import Density, InputError, PRNGKey, Reparameterised


class Replicated(Reparameterised):
    """q(z_1) ... q(z_K) as a distribution of the concatenated z, so that functions of K draws have expectations too.

    It has noise where q has; `check_family` looks at q.
    """

    q: Any
    num: int = eqx.field(static=True)

    @property
    def dimension(self) -> int:
        return self.num * self.q.dimension

    def noise(self, key: PRNGKey) -> Any:
        return jax.vmap(self.q.noise)(jax.random.split(key, self.num))

    def from_noise(self, eps: Any) -> Float[Array, " n"]:
        return jax.vmap(self.q.from_noise)(eps).reshape(-1)

    def from_noise_and_log_probs(self, eps: Any) -> tuple[Float[Array, " n"], Float[Array, " k"]]:
        """The concatenated draws and log q of each."""
        z, log_q = jax.vmap(self.q.from_noise_and_log_prob)(eps)
        return z.reshape(-1), log_q

    def from_noise_and_scores(self, eps: Any) -> tuple[Float[Array, " n"], Float[Array, " k"], Float[Array, " n"]]:
        """The concatenated draws, log q of each, and the concatenated gradients of log q with respect to them."""
        z, log_q, score = jax.vmap(self.q.from_noise_and_score)(eps)
        return z.reshape(-1), log_q, score.reshape(-1)

    def sample(self, key: PRNGKey) -> Float[Array, " n"]:
        return jax.vmap(self.q.sample)(jax.random.split(key, self.num)).reshape(-1)

    def log_probs(self, z: Float[Array, " n"]) -> Float[Array, " k"]:
        """log q(z_k) of each draw."""
        return jax.vmap(self.q.log_prob)(z.reshape(self.num, -1))

    def log_prob(self, z: Float[Array, " n"]) -> Float[Array, ""]:
        return jnp.sum(self.log_probs(z))

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Replicated":
        raise InputError("Replicated is a device inside objectives and is never part of a posterior")


def replicate(q: Density, num: int) -> Any:
    """`num` independent draws of q as one; q itself where `num` is one."""
    return q if num == 1 else Replicated(q, num)


def check_family(estimator: Any, q: Any) -> None:
    """Refuse a family that lacks what the estimator needs. Raises `InputError`; called while tracing, never later."""
    inner = q.q if isinstance(q, Replicated) else q
    if not isinstance(inner, estimator.needs):
        raise InputError(
            f"{type(estimator).__name__} needs a {estimator.needs.__name__} family, and {type(inner).__name__} is not "
            "one: use ScoreFunction(), which takes any density, or another family"
        )
