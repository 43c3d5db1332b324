"""The forward Kullback-Leibler divergence on given draws of the posterior."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jensen.core import Density, Estimate, InputError, LogDensity, Objective, PRNGKey
from jensen.families import Bijective
from jensen.gradient_estimators._draws import standard_error


class MaximumLikelihood(Objective):
    """E_x[log p(x, data) - log q(x)] over given draws x of the posterior = KL(posterior || q) + log evidence, in nats.

    Its gradient is that of the negative mean log likelihood of q. `draws`: shape (n, d), exact draws of the posterior
    in unconstrained coordinates; of a chain that has not mixed they give a wrong q in silence. `batch_size` of them
    a step, with replacement. Its value lies above the log evidence in expectation where the draws are exact, which
    nothing here can check: no bound is declared.

    Raises `InputError` for draws that are no finite matrix, another dimension than q's, a family without a density, or
    a batch size below 1.

    Source: Fisher (1922).
    """

    needs: ClassVar[Any] = LogDensity
    bound: ClassVar[str | None] = None
    draws: Float[Array, "n d"] = eqx.field(converter=jnp.asarray)
    batch_size: int = eqx.field(static=True, default=64)

    def __check_init__(self):
        check_draws(self)

    def loss(self, key: PRNGKey, q: Any, target: Any) -> Estimate:
        x = batch(self, key, q, Density)
        log_p, log_q = jax.vmap(target.log_density)(x), jax.vmap(q.log_prob)(x)
        terms = jax.lax.stop_gradient(log_p) - log_q
        return Estimate(jnp.mean(terms), jnp.mean(terms), standard_error(terms))


class PathMaximumLikelihood(Objective):
    """E_x[log p(x, data) - log q(x)] over given draws, as `MaximumLikelihood`, by its path gradient.

    grad = E_x[(grad_x log q - grad_x log p)(x)^T dT_theta(u) / dtheta], u = T^-1(x) held fixed, z = T_theta(u) the map
    of q: the integrand of the reverse divergence at draws of p. It sees the gradient of log p at the draws, so that few
    of them go further, and it is zero draw by draw where q = p. Not always less noisy far from there. Cost: an inverse
    pass and a recursion through the layers a draw.

    Raises `InputError` as `MaximumLikelihood`, and for a family that is no bijection.

    Source: Vaitl, Winkler, Richter and Kessel (2024).
    """

    needs: ClassVar[Any] = LogDensity
    bound: ClassVar[str | None] = None
    draws: Float[Array, "n d"] = eqx.field(converter=jnp.asarray)
    batch_size: int = eqx.field(static=True, default=64)

    def __check_init__(self):
        check_draws(self)

    def loss(self, key: PRNGKey, q: Any, target: Any) -> Estimate:
        x = batch(self, key, q, Bijective)
        still = jax.lax.stop_gradient(q)

        def term(x: Float[Array, " d"]) -> tuple[Float[Array, ""], Float[Array, ""]]:
            u = still.inverse(x)
            _, log_q, score = still.from_noise_and_score(u)
            log_p, slope = jax.value_and_grad(target.log_density)(x)
            return log_p - log_q, jnp.vdot(jax.lax.stop_gradient(score - slope), q.from_noise(u))

        values, surrogates = jax.vmap(term)(x)
        values = jax.lax.stop_gradient(values)
        return Estimate(jnp.mean(values), jnp.mean(surrogates), standard_error(values))


def check_draws(objective: Any) -> None:
    """Raises `InputError` unless the draws are a finite matrix and the batch has a draw."""
    draws, name = objective.draws, type(objective).__name__
    if draws.ndim != 2 or 0 in draws.shape or not jnp.issubdtype(draws.dtype, jnp.floating):
        raise InputError(f"draws of {name} must be real numbers of shape (n, d), got {draws.dtype} {draws.shape}")
    if not isinstance(draws, jax.core.Tracer) and not bool(np.all(np.isfinite(draws))):
        raise InputError(f"draws of {name} hold NaN or infinite values")
    if objective.batch_size < 1:
        raise InputError(f"batch_size must be at least 1, got {objective.batch_size}")


def batch(objective: Any, key: PRNGKey, q: Any, needs: type) -> Float[Array, "b d"]:
    """Random rows of the draws, once the family is found fit for them. Raises `InputError`."""
    name = type(objective).__name__
    if not isinstance(q, needs):
        raise InputError(f"{name} needs a {needs.__name__} family, and {type(q).__name__} is not one")
    n, d = objective.draws.shape
    if q.dimension != d:
        raise InputError(f"The draws of {name} have dimension {d}, the family {q.dimension}")
    return objective.draws[jax.random.randint(key, (objective.batch_size,), 0, n)]
