"""A neuron's spikes as a Bernoulli regression on a white stimulus, by its sufficient statistic or raw."""

import abc
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jensen.core import PRNGKey, Space, Target
from jensen.datasets import load
from jensen.targets._sbibm._common import theta_space
from jensen.targets._simulators import Joint, Simulator

D = 10


class BernoulliGLM(Simulator):
    """y_t ~ Bernoulli(logistic(X theta)_t), theta ~ N(0, P^-1): an offset, and a filter of nine lags that P smooths.

    `design`: X, shape (times, 10). `precision`: P, shape (10, 10). A class says in which form data come.
    """

    space: Space
    design: Float[Array, "n d"]
    precision: Float[Array, "d d"]

    @abc.abstractmethod
    def data(self, spikes: Float[Array, " n"]) -> Array:
        """The data of a train of zeros and ones."""

    @abc.abstractmethod
    def statistic(self, data: Array) -> Float[Array, " d"]:
        """X^T y of the data."""

    def simulate(self, key: PRNGKey) -> tuple[Float[Array, " d"], Any]:
        key_prior, key_model = jax.random.split(key)
        tril = jnp.linalg.cholesky(self.precision)
        noise = jax.random.normal(key_prior, (tril.shape[0],), tril.dtype)
        theta = jax.scipy.linalg.solve_triangular(tril.T, noise, lower=False)
        spikes = jax.random.bernoulli(key_model, jax.nn.sigmoid(self.design @ theta))
        return theta, self.data(spikes.astype(theta.dtype))

    def condition(self, data: Any) -> Target:
        return Joint(self.space, _log_joint, (self.design, self.precision, self.statistic(jnp.asarray(data))))


class Raw(BernoulliGLM):
    """Data are the spikes themselves, shape (times,)."""

    def data(self, spikes: Float[Array, " n"]) -> Array:
        return spikes

    def statistic(self, data: Array) -> Float[Array, " d"]:
        return self.design.T @ data


class Summarised(BernoulliGLM):
    """Data are X^T y, shape (10,): the number of spikes, and the stimulus before them, summed. It is sufficient."""

    def data(self, spikes: Float[Array, " n"]) -> Array:
        return self.design.T @ spikes

    def statistic(self, data: Array) -> Float[Array, " d"]:
        return data


def bernoulli_glm() -> Summarised:
    """The task with data of shape (10,)."""
    return Summarised(theta_space(D), _design(), jnp.asarray(_precision()))


def bernoulli_glm_raw() -> Raw:
    """The task with data of shape (100,)."""
    return Raw(theta_space(D), _design(), jnp.asarray(_precision()))


def _design() -> Array:
    return jnp.asarray(load("sbibm/bernoulli_glm_extra")["design_matrix"], jnp.result_type(float))


def _precision() -> np.ndarray:
    """1/2 for the offset; F^T F for the filter, F = D^2 + diag(sqrt(i / 9)), D the matrix of first differences."""
    lags = D - 1
    difference = np.eye(lags) - np.eye(lags, k=-1)
    smooth = difference @ difference + np.diag(np.sqrt(np.arange(lags) / lags))
    precision = np.zeros((D, D))
    precision[0, 0] = 0.5
    precision[1:, 1:] = smooth.T @ smooth
    return precision


def _log_joint(x: Any, data: Any) -> Any:
    theta, (design, precision, statistic) = x["theta"], data
    tril = jnp.linalg.cholesky(precision)
    log_prior = -0.5 * jnp.sum((tril.T @ theta) ** 2) + jnp.sum(jnp.log(jnp.diagonal(tril) / jnp.sqrt(2 * jnp.pi)))
    return log_prior + statistic @ theta - jnp.sum(jax.nn.softplus(design @ theta))
