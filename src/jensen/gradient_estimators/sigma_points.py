"""Expectations under a Gaussian by sigma points: few points that have its mean and covariance."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import Estimate, GradientEstimator, InputError, PRNGKey, Scalar, scalar_field
from jensen.families.gaussian import DiagonalGaussian, Gaussian
from jensen.gradient_estimators._draws import Evaluated, Function, check_num_draws, draw_and_log_probs, standard_error


class SigmaPoints(GradientEstimator):
    """E_q[f] = k/(d+k) f(m) + sum_i [f(m + r L_i) + f(m - r L_i)] / (2 (d+k)), r = sqrt(d+k), L_i the columns of L.

    For q = N(m, L L^T): exact, value and gradient, for f a polynomial of degree three or less; else biased, by what f
    has of higher degree within r standard deviations. No noise at all. Cost: 2 d + 1 gradients of f. `kappa`, k, above
    -d: at k = 0 the mean has no weight, at k = 3 - d the fourth moments along the axes are right too.

    Raises `InputError` for a family that is not Gaussian, or a kappa that is not above -d.

    Source: Julier and Uhlmann (2004), Unscented filtering; in autoencoders: Janjos, Rosenbaum, Dolgov and Zoellner
    (2023), Unscented autoencoder.
    """

    needs: ClassVar[Any] = Gaussian | DiagonalGaussian
    kappa: Scalar = scalar_field(0.0)

    def expectation(self, key: PRNGKey, q: Any, f: Function) -> Estimate:
        check_gaussian(self, q)
        d = q.dimension
        if not isinstance(self.kappa, jax.core.Tracer) and not float(self.kappa) > -d:
            raise InputError(f"kappa must be above -{d}, minus the dimension, got {float(self.kappa):g}")
        points, weights = sigma_points(d, self.kappa)
        values = jax.vmap(lambda eps: _value(q, eps, f))(points)
        mean = weights @ values
        return Estimate(mean, mean, jnp.zeros_like(mean))


class SigmaPairs(GradientEstimator):
    """E_q[f] = mean over n of [f(m + sqrt(d) L_i) + f(m - sqrt(d) L_i)] / 2, each i of the n drawn from 1 .. d.

    For q = N(m, L L^T). On average `SigmaPoints` at kappa zero, with its exactness and its bias; odd parts of f cancel
    in each pair. Cost: 2 `num_pairs` gradients of f, for latents too many for all 2 d points.

    Raises `InputError` for a family that is not Gaussian, or fewer than one pair.

    Source: Janjos, Rosenbaum, Dolgov and Zoellner (2023), Unscented autoencoder.
    """

    needs: ClassVar[Any] = Gaussian | DiagonalGaussian
    num_pairs: int = eqx.field(static=True, default=1)

    def __check_init__(self):
        check_num_draws(self.num_pairs)

    def expectation(self, key: PRNGKey, q: Any, f: Function) -> Estimate:
        check_gaussian(self, q)
        axes = jax.random.randint(key, (self.num_pairs,), 0, q.dimension)
        points = jnp.sqrt(q.dimension) * jax.nn.one_hot(axes, q.dimension, dtype=jnp.result_type(float))
        pairs = jax.vmap(lambda eps: 0.5 * (_value(q, eps, f) + _value(q, -eps, f)))(points)
        mean = jnp.mean(pairs)
        return Estimate(mean, mean, standard_error(pairs))


def sigma_points(d: int, kappa: Any = 0.0) -> tuple[Float[Array, "n d"], Float[Array, " n"]]:
    """(points, weights) of the standard normal on R^d, n = 2 d + 1: zero first, then +-sqrt(d + kappa) e_i."""
    kappa = jnp.asarray(kappa, jnp.result_type(float))  # estimators may have been made in another precision
    axes = jnp.sqrt(d + kappa) * jnp.eye(d, dtype=kappa.dtype)
    points = jnp.concatenate([jnp.zeros((1, d), axes.dtype), axes, -axes])
    others = jnp.full(2 * d, 0.5, axes.dtype) / (d + kappa)
    return points, jnp.concatenate([jnp.reshape(kappa / (d + kappa), (1,)).astype(axes.dtype), others])


def check_gaussian(estimator: Any, q: Any) -> None:
    """Raises `InputError` for a q that is no Gaussian."""
    if not isinstance(q, Gaussian | DiagonalGaussian):
        raise InputError(
            f"{type(estimator).__name__} has points for Gaussian families alone, got {type(q).__name__}: use "
            "Reparameterisation"
        )


def _value(q: Any, eps: Float[Array, " d"], f: Function) -> Float[Array, ""]:
    z, log_q = draw_and_log_probs(q, eps)
    return f(Evaluated(q, z, log_q), z)
