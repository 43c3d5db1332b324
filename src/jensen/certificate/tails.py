"""How heavy the tails of a distribution are: of draws, or of the image of noise under a map."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jensen.certificate._pareto import fit_generalised_pareto
from jensen.core import Family, InputError, PRNGKey, check_key, sample_many

MIN_TAIL = 25  # exceedances for a fit of two parameters


class Tails(eqx.Module):
    """Pareto shapes k-hat of the lower and upper tail of each coordinate, shape (d,), from `num_tail` exceedances.

    k = 1 / nu for a tail as heavy as |z|^-nu, 0 for an exponential one, slightly below 0 for a Gaussian at finite
    thresholds. `standard_error`: (1 + k) / sqrt(num_tail), shape as k. A bounded or Gaussian q for a posterior of k > 0
    has importance weights without a variance.
    """

    lower: np.ndarray
    upper: np.ndarray
    num_tail: int = eqx.field(static=True)

    @property
    def standard_error(self) -> np.ndarray:
        """Of the larger of the two, coordinate by coordinate."""
        return (1 + np.maximum(np.maximum(self.lower, self.upper), 0.0)) / math.sqrt(self.num_tail)

    @property
    def heavy(self) -> np.ndarray:
        """Whether a tail of the coordinate is surely heavier than exponential: k above 5 standard errors."""
        return np.maximum(self.lower, self.upper) > 5 * self.standard_error


def tails_of_draws(draws: Any, num_tail: int | None = None) -> Tails:
    """Pareto shapes of both tails of each coordinate of `draws`, shape (n, d).

    `num_tail`: exceedances, min(n / 5, 3 sqrt n) where None; the shape drifts with it where the tail is not yet a
    power law, so look at several.

    Raises `InputError` for draws that are no finite matrix, or `num_tail` below 25 or above n / 2.

    Source: Vehtari, Simpson, Gelman, Yao and Gabry (2024); Zhang and Stephens (2009).
    """
    z = np.asarray(draws, float)
    if z.ndim != 2 or not np.all(np.isfinite(z)):
        raise InputError(f"draws must be finite, of shape (n, d), got {z.shape}")
    n = len(z)
    m = math.ceil(min(0.2 * n, 3 * math.sqrt(n))) if num_tail is None else num_tail
    if not MIN_TAIL <= m <= n // 2:
        raise InputError(f"{m} exceedances of {n} draws: from {MIN_TAIL} to half of the draws are needed")
    shapes = np.array([[_shape(sign * column, m) for column in z.T] for sign in (-1.0, 1.0)])
    return Tails(shapes[0], shapes[1], m)


def tails_of(key: PRNGKey, q: Family, num_draws: int = 100_000, num_tail: int | None = None) -> Tails:
    """`tails_of_draws` of fresh draws of q: what the map of a flow has made of the tails of its noise."""
    return tails_of_draws(_draw(check_key(key), q, num_draws), num_tail)


def hill(draws: Any, num_tail: int) -> float:
    """Hill's tail index 1 / xi, xi = mean_{i < k} log(x_(i) / x_(k)) over the k largest: nu of a tail |x|^-nu.

    For a tail that is no power law it has no limit: it grows as fewer draws are taken.

    Raises `InputError` unless `draws` is a vector whose `num_tail` + 1 largest are positive.

    Source: Hill (1975).
    """
    x = np.sort(np.asarray(draws, float).reshape(-1))[::-1]
    if not 2 <= num_tail < len(x) or not x[num_tail] > 0:
        raise InputError(f"The {num_tail + 1} largest of {len(x)} values must be positive, with num_tail 2 or more")
    return float(1 / np.mean(np.log(x[:num_tail] / x[num_tail])))


@eqx.filter_jit
def local_stretch(key: PRNGKey, q: Any, num_draws: int = 1000) -> Float[Array, " n"]:
    """Largest singular value of dz/du at each of `num_draws` draws of a bijection of noise, shape (num_draws,).

    Its supremum L over all u bounds the tails: P(|z_i - E z_i| > t) <= 2 exp(-t^2 / (2 L^2)) for Gaussian noise. The
    largest of draws is a lower bound of L only. Source: Gaussian isoperimetry; Tam and Dunson (2025).
    """
    u = jax.vmap(q.noise)(jax.random.split(key, num_draws))
    return jax.vmap(lambda u: jnp.linalg.norm(jax.jacfwd(q.from_noise)(u), ord=2))(u)


@eqx.filter_jit
def _draw(key: PRNGKey, q: Any, num_draws: int) -> Float[Array, "n d"]:
    return sample_many(key, q, num_draws)


def _shape(x: np.ndarray, m: int) -> float:
    largest = np.sort(np.partition(x, len(x) - m - 1)[-(m + 1) :])
    exceedances = largest[1:] - largest[0]
    return fit_generalised_pareto(exceedances)[0] if exceedances[-1] > 0 and exceedances[m // 4] > 0 else math.nan
