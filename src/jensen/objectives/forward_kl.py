"""Forward divergences by reweighted draws of q: nothing of q but draws and a density, nothing of p but values."""

import math
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import Density, Estimate, InputError, LogDensity, Objective, PRNGKey, Scalar, scalar_field
from jensen.objectives._of_log_weights import check_setting, log_mean_exp


class ForwardKL(Objective):
    """KL(posterior || q) = E_p[log p - log q] by reweighting: z_k ~ q, w_k = p(z_k, data) / q(z_k), in nats.

    Value sum_k v_k log w_k - log 1/K sum_k w_k, v = w / sum w; gradient -sum_k v_k grad log q(z_k), the wake phase of
    reweighted wake-sleep. Both are biased by O(1/K), K = `num_weights`, more so the less q covers p. Asks of q only
    draws and a density (mixtures, discrete q), of log p no gradient. Covers mass: the best Gaussian has p's mean and
    covariance. What q does not reach it does not see: begin wide. No bound on the evidence. Cost: K values of log p and
    gradients of log q. A minibatch biases it.

    Raises `InputError` for K < 2, or a family without a density.

    Source: Bornschein and Bengio (2015); Le et al. (2019).
    """

    needs: ClassVar[Any] = LogDensity
    bound: ClassVar[str | None] = None
    num_weights: int = eqx.field(static=True, default=64)

    def __check_init__(self):
        _check_num(self)

    def loss(self, key: PRNGKey, q: Any, target: Any) -> Estimate:
        log_w, log_q = _weigh(self, key, q, target)
        weights = jax.nn.softmax(log_w)
        terms = jnp.where(weights > 0, weights * log_w, 0.0)  # p may be zero at some draws
        mean = jnp.sum(terms)
        # the error of a ratio and a logarithm of means, to first order
        error = _error(self.num_weights * (terms - weights * (mean + 1)))
        return Estimate(mean - log_mean_exp(log_w), -jnp.vdot(weights, log_q), error)


class ForwardChi(Objective):
    """CUBO_n = 1/n log E_q[w^n] by reweighting: z_k ~ q, w_k = p(z_k, data) / q(z_k), n = `order`; in nats.

    Value 1/n log 1/K sum_k w_k^n; gradient -(n - 1)/n sum_k v_k grad log q(z_k), v = w^n / sum w^n, n - 1 and not n
    because the draws are of q themselves. What `Cubo` makes small, with less noise far from the optimum and more near
    it, and for any density. Makes the weights' variance least (n = 2), and so the error of importance sampling with q.
    Biased by O(1/K), K = `num_weights`; too low where q is too narrow: no bound, and none is declared. Begin wide. Cost
    as `ForwardKL`. A minibatch biases it.

    Raises `InputError` for n <= 1, K < 2, or a family without a density.

    Source: Li, Wang, Li and Wu (2024).
    """

    needs: ClassVar[Any] = LogDensity
    bound: ClassVar[str | None] = None
    order: Scalar = scalar_field(2.0)
    num_weights: int = eqx.field(static=True, default=64)

    def __check_init__(self):
        _check_num(self)
        check_setting("order", self.order, lambda n: n > 1, "above 1 (1 is ForwardKL)")

    def loss(self, key: PRNGKey, q: Any, target: Any) -> Estimate:
        log_w, log_q = _weigh(self, key, q, target)
        n = self.order.astype(log_w.dtype)
        weights = jax.nn.softmax(n * log_w)
        surrogate = -(n - 1) / n * jnp.vdot(weights, log_q)
        return Estimate(log_mean_exp(n * log_w) / n, surrogate, _error(self.num_weights * weights / n))


def _check_num(objective: Any) -> None:
    if objective.num_weights < 2:
        raise InputError(f"num_weights of {type(objective).__name__} must be at least 2, got {objective.num_weights}")


def _weigh(objective: Any, key: PRNGKey, q: Any, target: Any) -> tuple[Float[Array, " k"], Float[Array, " k"]]:
    """log w of draws of q, held fixed, and log q there as a function of q's parameters."""
    if not isinstance(q, Density):
        raise InputError(f"{type(objective).__name__} needs a Density family, and {type(q).__name__} is not one")

    def one(key: PRNGKey) -> tuple[Float[Array, ""], Float[Array, ""]]:
        z = jax.lax.stop_gradient(q.sample(key))
        return target.log_density(z), q.log_prob(z)

    log_p, log_q = jax.vmap(one)(jax.random.split(key, objective.num_weights))
    return jax.lax.stop_gradient(log_p - log_q), log_q


def _error(influence: Float[Array, " k"]) -> Float[Array, ""]:
    return jnp.std(influence, ddof=1) / math.sqrt(influence.shape[0])
