"""What the two doubly reparameterised estimators share: the surrogate, given log q and its gradient at the draws."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import Estimate, InputError, PRNGKey, in_batches
from jensen.gradient_estimators._draws import Function, draw_noise, standard_error
from jensen.gradient_estimators._replicated import check_family
from jensen.gradient_estimators.of_weights import OfWeights

BLOCK = 64

Path = Callable[[Any, Any], tuple[Float[Array, " n"], Float[Array, " k"]]]


def doubly_reparameterised(estimator: Any, key: PRNGKey, q: Any, f: Function, path: Path) -> Estimate:
    """E[phi(log w)] with the surrogate sum_k stop(phi_k - phi_kk) log w_k, differentiated along the path alone.

    `path(q, eps)` gives z(eps), and log q(z_k) as a function of z whose gradient is that at fixed parameters. With
    phi_k the partial derivative by log w_k: the path through the weights gives phi_k, and the score term
    -E[phi_k grad_theta log q(z_k)], itself written along the path, -phi_kk. Parameters of p have no score term: their
    weights are phi_k.

    Raises `InputError` where f is no function of weights.
    """
    check_family(estimator, q)
    if not isinstance(f, OfWeights):
        raise InputError(
            f"{type(estimator).__name__} differentiates functions of importance weights (gradient_estimators.OfWeights)"
            ", and this objective is none: use Reparameterisation"
        )

    def value(eps: Any) -> tuple[Float[Array, ""], Float[Array, ""]]:
        z, log_q = path(q, eps)
        log_w = f.log_densities(z) - log_q
        fixed = jax.lax.stop_gradient(log_w)
        slope, curvature = (jax.lax.stop_gradient(a) for a in (jax.grad(f.phi)(fixed), _curvature(f.phi, fixed)))
        # where p is zero nothing moves along the path, and a coefficient of zero times -inf is no number
        moving = jnp.where(jnp.isneginf(fixed), 0.0, log_w)
        # gives p's own parameters, which z does not carry, the phi_kk back; without such it has no gradient
        standing = jnp.where(jnp.isneginf(fixed), 0.0, f.log_densities(jax.lax.stop_gradient(z)))
        return f.phi(fixed), jnp.vdot(slope - curvature, moving) + jnp.vdot(curvature, standing)

    values, surrogates = jax.vmap(value)(draw_noise(key, q, estimator.num_draws))
    return Estimate(jnp.mean(values), jnp.mean(surrogates), standard_error(values))


def _curvature(phi: Callable[..., Any], at: Float[Array, " k"]) -> Float[Array, " k"]:
    """The second derivatives phi_kk, a block of columns of the Hessian at a time."""
    k = at.shape[0]

    def along(i: Any) -> Float[Array, ""]:
        unit = jnp.zeros_like(at).at[i].set(1.0)
        return jax.jvp(jax.grad(phi), (at,), (unit,))[1][i]

    return in_batches(along, jnp.arange(k), BLOCK)
