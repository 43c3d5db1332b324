"""Expectations under a mixture, component by component."""

from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import Estimate, GradientEstimator, InputError, PRNGKey
from jensen.families.gaussian import Gaussian
from jensen.families.mixture import GaussianMixture
from jensen.gradient_estimators._draws import Function, draw_noise


class Stratified(GradientEstimator):
    """grad E_q[f] for q = sum_k w_k N_k as grad sum_k w_k E_eps[f(q, m_k + L_k eps)]: no component is ever drawn.

    Unbiased for every f that is differentiable in z and q, in the weights too. `num_draws` are taken of each component:
    K times as many gradients of f, with less variance than as many draws of q.

    Raises `InputError` for another family than `GaussianMixture`.

    Source: Graves (2016), on stochastic backpropagation through mixtures; stratified: Morningstar et al. (2021).
    """

    needs: ClassVar[type] = GaussianMixture
    num_draws: int = eqx.field(static=True, default=4)

    def expectation(self, key: PRNGKey, q: Any, f: Function) -> Estimate:
        return _by_component(key, q, self.num_draws, lambda z: f(q, z))


class StratifiedStickingTheLanding(GradientEstimator):
    """`Stratified` with q inside f held constant: grad sum_k w_k E_eps[f(const q, m_k + L_k eps)].

    Unbiased where E_q[grad_theta f(q, z)] at fixed z is zero: for f = log q(z) - log p(z). The gradient in means and
    scales then has no variance where q = p. Biased for other f. `num_draws` are taken of each component.

    Raises `InputError` for another family than `GaussianMixture`.

    Source: Roeder, Wu and Duvenaud (2017), section on mixtures.
    """

    needs: ClassVar[type] = GaussianMixture
    num_draws: int = eqx.field(static=True, default=4)

    def expectation(self, key: PRNGKey, q: Any, f: Function) -> Estimate:
        still = jax.lax.stop_gradient(q)
        return _by_component(key, q, self.num_draws, lambda z: f(still, z))


def _by_component(key: PRNGKey, q: Any, num_draws: int, f: Callable[[Float[Array, " d"]], Any]) -> Estimate:
    if not isinstance(q, GaussianMixture):
        raise InputError(
            f"{type(q).__name__} has no components: use Reparameterisation or StickingTheLanding, or a GaussianMixture"
        )
    weights = jnp.exp(q.log_weights)

    def one(key: PRNGKey, mean: Any, tril: Any) -> Float[Array, " n"]:
        part = Gaussian(mean, tril)
        return jax.vmap(lambda eps: f(part.from_noise(eps)))(draw_noise(key, part, num_draws))

    values = jax.vmap(one)(jax.random.split(key, weights.shape[0]), q.means, q.scale_trils)
    mean = weights @ jnp.mean(values, 1)
    error = jnp.sqrt(jnp.sum(weights**2 * jnp.var(values, axis=1, ddof=1 if num_draws > 1 else 0) / num_draws))
    return Estimate(mean, mean, error if num_draws > 1 else jnp.full_like(mean, jnp.nan))
