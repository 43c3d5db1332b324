"""What the papers on linear variational autoencoders share: rows of a linear model, and likelihoods that stay."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jensen.core import Compiled
from jensen.vae.likelihoods import Gaussian


def linear_data(
    rng: np.random.Generator, rows: int, columns: int, k: int, noise: float = 0.5, scale: float = 1.5
) -> np.ndarray:
    """Rows W z + sqrt(noise) eps with columns of W of different lengths, so that the units can be told apart."""
    weight = scale * rng.normal(size=(columns, k)) / (1 + np.arange(k))
    return rng.normal(size=(rows, k)) @ weight.T + np.sqrt(noise) * rng.normal(size=(rows, columns))


def fixed(noise: float) -> Gaussian:
    """A Gaussian likelihood of this variance, which is not trained."""
    return Gaussian(jnp.asarray(0.5 * np.log(noise), jnp.result_type(float)), False)


def moments(conditional: Any, X: Any) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard deviations of q(z | x) of each row, (rows, k)."""
    means, scales = _moments(conditional, jnp.asarray(X))
    return np.asarray(means), np.asarray(scales)


@partial(Compiled, small=1_000_000)
def _moments(conditional: Any, X: Any) -> Any:
    def one(x: Any) -> Any:
        mean, cov = conditional.given(x).mean_and_cov()
        return mean, jnp.sqrt(jnp.diagonal(cov))

    return jax.vmap(one)(X)
