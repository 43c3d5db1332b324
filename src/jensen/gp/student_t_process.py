"""Regression with a Gaussian process of unknown scale: the Student-t process, and any other law of the scale."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jensen.core import InputError, Scalar, require, scalar_field
from jensen.families import MultivariateStudentT, NormalScaleMixture
from jensen.gp._linalg import cholesky, explain, solve_lower
from jensen.gp.kernels.stationary import as_rows


class StudentTProcess(eqx.Module):
    """y | s ~ N(0, s (K + noise I)), s ~ InverseGamma(a, b): y is multivariate t, 2 a degrees of freedom, scale b/a.

    All in closed form: the evidence is log t_{2a}(y; 0, (b/a) C), C = K + noise I, and the predictive at m new inputs
    is multivariate t of 2 a + n degrees of freedom, mean K* C^-1 y and scale matrix
    (2 b + y^T C^-1 y) / (2 a + n) (K** + noise I - K* C^-1 K*^T): data farther out than expected widen it everywhere,
    which a Gaussian process cannot do. The noise sits under the scale too (else nothing is in closed form). With
    a = b -> infinity it is Gaussian process regression. One s is shared by all values of a function, so that joint log
    likelihoods are those of the multivariate density, not products of marginals.

    The limit of wide networks with this prior on the last layer's variance is this process with the kernel
    `infinite_width.NNGP`. O(n^3), O(n^2) memory.

    `noise`: variance of the noise in units of s. `shape`: a. `rate`: b. Its hyperparameters are trained by the
    evidence, as those of any process.

    Source: Lee, Yun, Yang and Lee (2022), Scale mixtures of neural network Gaussian processes; Shah et al. (2014).
    """

    kernel: Any
    noise: Scalar = scalar_field(0.1)
    shape: Scalar = scalar_field(2.0)
    rate: Scalar = scalar_field(2.0)

    def log_evidence(self, x: Float[Array, "n *d"], y: Float[Array, " n"]) -> Float[Array, ""]:
        """log p(y), in nats; NaN where C is not positive definite. Traceable, for training."""
        tril = _noisy_tril(self.kernel, self.noise, as_rows(x))
        return self._prior(tril).log_prob(y)

    def prior(self, x: Float[Array, "n *d"]) -> MultivariateStudentT:
        """p(y) at the inputs x."""
        return self._prior(_noisy_tril(self.kernel, self.noise, as_rows(x)))

    def _prior(self, tril: Float[Array, "n n"]) -> MultivariateStudentT:
        zero = jnp.zeros(tril.shape[0], tril.dtype)
        return MultivariateStudentT(zero, jnp.sqrt(self.rate / self.shape) * tril, jnp.log(2 * self.shape))

    def predict(self, x: Any, y: Any, x_new: Any) -> MultivariateStudentT:
        """p(y_new | y): noisy values at the rows of `x_new`, (m, d), given y (n,) at x (n, d).

        Raises `InputError` for data that are not finite or of other shapes, or a covariance that cannot be factorised.
        """
        x, y, x_new = check_data(x, y, x_new)
        found = _predict_t(self, x, y, x_new)
        _check_factor(self.kernel, x, found.scale_tril)
        return found


class ScaleMixtureProcess(eqx.Module):
    """y | s ~ N(0, s (K + noise I)) with s of any law, given by draws s_j (or nodes) and log weights.

    Given y, the weights become w_j N(y; 0, s_j C), self-normalised importance sampling whose error falls as the square
    root of the number of draws; mean and shape of the predictive are the same for every s. With draws of
    InverseGamma(a, b) it is a Monte Carlo version of `StudentTProcess`, which is exact: use that one there. A few
    hundred draws do while n is in the tens; the posterior of s narrows as 1 / sqrt(n), so give more for more data.

    `log_scales`: log s_j, (k,). `log_weights`: (k,), up to a constant; all equal for draws of the prior.

    Source: Lee, Yun, Yang and Lee (2022), Scale mixtures of neural network Gaussian processes.
    """

    kernel: Any
    log_scales: Float[Array, " k"] = eqx.field(metadata={"fixed": True})
    log_weights: Float[Array, " k"] = eqx.field(metadata={"fixed": True})
    noise: Scalar = scalar_field(0.1)

    def prior(self, x: Float[Array, "n *d"]) -> NormalScaleMixture:
        """p(y) at the inputs x."""
        tril = _noisy_tril(self.kernel, self.noise, as_rows(x))
        return NormalScaleMixture(jnp.zeros(len(x), tril.dtype), tril, self.log_scales, self.log_weights)

    def log_evidence(self, x: Float[Array, "n *d"], y: Float[Array, " n"]) -> Float[Array, ""]:
        """log sum_j w_j N(y; 0, s_j C), in nats. Traceable, for training."""
        return self.prior(x).log_prob(y)

    def predict(self, x: Any, y: Any, x_new: Any) -> NormalScaleMixture:
        """p(y_new | y): noisy values at the rows of `x_new`, (m, d), given y (n,) at x (n, d).

        Raises `InputError` for data that are not finite or of other shapes, or a covariance that cannot be factorised.
        """
        x, y, x_new = check_data(x, y, x_new)
        found = _predict_mixture(self, x, y, x_new)
        _check_factor(self.kernel, x, found.scale_tril)
        return found


def check_data(x: Any, y: Any, x_new: Any) -> tuple[Array, Array, Array]:
    """x (n, d), y (n,) and new inputs (m, d) as arrays. Raises `InputError` for other shapes, NaN or infinity."""
    real = jnp.result_type(float)
    x, y, x_new = as_rows(jnp.asarray(x, real)), jnp.asarray(y, real), as_rows(jnp.asarray(x_new, real))
    require(x.ndim == 2 and y.shape == (len(x),), f"x must be (n, d) and y (n,), got {x.shape} and {y.shape}")
    wide = x_new.ndim == 2 and x_new.shape[1] == x.shape[1]
    require(wide, f"New inputs must have {x.shape[1]} columns as those of the data have, got shape {x_new.shape}")
    for name, value in (("x", x), ("y", y), ("x_new", x_new)):
        finite = bool(np.all(np.isfinite(value)))
        require(finite, f"{name} has a value that is NaN or infinite: leave such rows out", InputError)
    return x, y, x_new


def _check_factor(kernel: Any, x: Array, tril: Array) -> None:
    if not bool(np.all(np.isfinite(tril))):
        raise explain(kernel, x)


def _noisy_tril(kernel: Any, noise: Scalar, x: Array) -> Array:
    return cholesky(kernel(x, x) + noise * jnp.eye(len(x), dtype=x.dtype))


def _conditional(kernel: Any, noise: Scalar, x: Array, y: Array, x_new: Array) -> tuple[Array, Array, Array]:
    """Mean and factor of the scale-free covariance at `x_new` given y, and y^T C^-1 y."""
    tril = _noisy_tril(kernel, noise, x)
    half, white = solve_lower(tril, kernel(x, x_new)), solve_lower(tril, y)
    left = kernel(x_new, x_new) + noise * jnp.eye(len(x_new), dtype=x.dtype) - half.T @ half
    return half.T @ white, cholesky(left), jnp.sum(white**2)


@eqx.filter_jit
def _predict_t(process: StudentTProcess, x: Array, y: Array, x_new: Array) -> MultivariateStudentT:
    mean, tril, square = _conditional(process.kernel, process.noise, x, y, x_new)
    df = 2 * process.shape + len(y)
    return MultivariateStudentT(mean, jnp.sqrt((2 * process.rate + square) / df) * tril, jnp.log(df))


@eqx.filter_jit
def _predict_mixture(process: ScaleMixtureProcess, x: Array, y: Array, x_new: Array) -> NormalScaleMixture:
    mean, tril, square = _conditional(process.kernel, process.noise, x, y, x_new)
    fits = -0.5 * (square * jnp.exp(-process.log_scales) + len(y) * process.log_scales)
    weights = jax.nn.log_softmax(process.log_weights + fits)
    return NormalScaleMixture(mean, tril, process.log_scales, weights)
