"""Sites whose draws are differentiable functions of their parameters."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jensen.core import PRNGKey
from jensen.gradient_estimators.sites._base import Draw, Drawing, plain, refusal

_BY_JAX = ("Gamma", "Beta", "Dirichlet", "StudentT", "Chi2", "InverseGamma")


class Reparameterised(Drawing):
    """grad E[C(x)] = E_eps[grad C(x(eps))]: the draw is a differentiable function of noise.

    For continuous distributions that NumPyro marks as reparameterised; of gamma-like ones JAX's derivative is the
    implicit one. Raises `InputError` for any other.

    Source: Kingma and Welling (2014).
    """

    def check(self, name: str, fn: Any) -> None:
        if fn.support.is_discrete or not fn.has_rsample:
            raise refusal(self, name, fn, "continuous reparameterised distributions (Normal, Gamma, LogNormal ...)")

    def draw(self, key: PRNGKey, fn: Any) -> Draw:
        return Draw(fn.rsample(key))


class StickingTheLanding(Drawing):
    """grad E[log q - log p] = E_eps[(grad x(eps))^T d(log q - log p)/dx]: `estimator` without the site's own score.

    The parameters of this site's log density are held constant where it stands in the cost, for its score has mean
    zero; the path through x, and whatever else `estimator` adds, is kept. Unbiased for the negative ELBO alone, where
    the noise vanishes at q = p; biased for other objectives.

    Raises `InputError` for a site that `estimator` is not for.

    Source: Roeder, Wu and Duvenaud (2017).
    """

    estimator: Drawing = Reparameterised()

    def check(self, name: str, fn: Any) -> None:
        self.estimator.check(name, fn)

    def draw(self, key: PRNGKey, fn: Any) -> Draw:
        return self.estimator.draw(key, fn)


class Implicit(Drawing):
    """dx/dtheta = -(dF(x; theta)/dtheta) / q(x; theta), F the distribution function: no inverse of F is needed.

    For any one-dimensional continuous site with a `cdf` that JAX can differentiate, among them mixtures
    (`MixtureSameFamily`); gamma-like ones (Gamma, Beta, Dirichlet, StudentT) use JAX's own series for the same
    derivative. Raises `InputError` for a discrete site or one without a distribution function.

    Source: Figurnov, Mohamed and Mnih (2018).
    """

    def check(self, name: str, fn: Any) -> None:
        if fn.support.is_discrete:
            raise refusal(self, name, fn, "continuous distributions")
        base = plain(fn)
        if type(base).__name__ in _BY_JAX:
            return
        try:
            jax.eval_shape(base.cdf, jax.ShapeDtypeStruct(fn.shape(), jnp.result_type(float)))
        except (NotImplementedError, AttributeError) as error:
            raise refusal(self, name, fn, "distributions with a cdf") from error

    def draw(self, key: PRNGKey, fn: Any) -> Draw:
        base = plain(fn)
        if type(base).__name__ in _BY_JAX:
            return Draw(fn.rsample(key))
        x = jax.lax.stop_gradient(fn.sample(key))
        density = jnp.exp(jax.lax.stop_gradient(base.log_prob(x)))
        return Draw(_from_cdf(x, base.cdf(x), density))


def _from_cdf(x: Array, cdf: Array, density: Array) -> Array:
    # the value x, the derivative -dF/q
    return x - (cdf - jax.lax.stop_gradient(cdf)) / jnp.maximum(density, jnp.finfo(x.dtype).tiny)
