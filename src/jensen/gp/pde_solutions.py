"""Exponential solutions of linear partial differential equations: features, kernels, and learned frequencies."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float
from tinygp.kernels import Kernel

from jensen.core import InputError, PRNGKey, Scalar, require
from jensen.gp._weight_space import WeightSpace, weight_space
from jensen.gp.kernels._fields import as_real, hyperparameter
from jensen.targets import from_log_density


class LinearPDE(eqx.Module):
    """A linear equation with constant coefficients through its characteristic variety: the z with e^<x, z> a solution.

    By the principle of Ehrenpreis and Palamodov such exponentials (times polynomials where the variety has multiple
    roots) span all solutions. `exponents(w)` gives z on each sheet of the variety above the real frequency w in R^p of
    the space coordinates; points are rows (x, t) of p + 1 numbers, the time last.
    """

    @abc.abstractmethod
    def exponents(self, w: Float[Array, " p"]) -> Complex[Array, "sheets p1"]:
        """z, one row a sheet."""


class Heat(LinearPDE):
    """u_t = c Laplacian u: z = (i w, -c |w|^2), one sheet; for t >= 0, where the features are bounded."""

    diffusivity: Scalar = hyperparameter()

    def exponents(self, w: Float[Array, " p"]) -> Complex[Array, "1 p1"]:
        return jnp.append(1j * w, -self.diffusivity * jnp.sum(w**2))[None]


class Wave(LinearPDE):
    """u_tt = c^2 Laplacian u: z = (i w, +-i c |w|); both sheets, else the initial velocity would be bound to 0."""

    speed: Scalar = hyperparameter()

    def exponents(self, w: Float[Array, " p"]) -> Complex[Array, "2 p1"]:
        square = jnp.sum(w**2)
        size = jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)
        turn = 1j * self.speed * size
        return jnp.stack([jnp.append(1j * w, turn), jnp.append(1j * w, -turn)])


def solution_features(
    equation: LinearPDE, frequencies: Float[Array, "r p"], points: Float[Array, "n p1"]
) -> Float[Array, "n features"]:
    """Re and -Im of e^<x, z> for every frequency and sheet: 2 r sheets real solutions, so any weights give a solution.

    Real and imaginary parts with weights of equal variance are the real part of complex features with circular Gaussian
    weights: the Hermitian product, of which the kernel is the real part.
    """
    z = jax.vmap(equation.exponents)(frequencies)
    values = jnp.exp(jnp.einsum("np,rsp->nrs", points, z))
    return jnp.concatenate([values.real, -values.imag], axis=2).reshape(len(points), -1)


class SolutionKernel(Kernel):
    """k(x, x') = sum_j s_j mean over sheets of Re e^<x, z_j> conj(e^<x', z_j>): every draw solves the equation.

    With frequencies drawn from the spectral density of the initial values and s_j = 1 / r this is the Monte Carlo form
    of the prior (EPGP), for equations or dimensions that have no formula such as `HeatKernel`. It has rank
    2 r sheets: `weight_space` on `solution_features` is the same at n r^2.

    `frequencies`: w, (r, p), radians per unit of x. `variances`: s, (r,).

    Source: Harkonen, Lange-Hegermann and Raita (2023).
    """

    equation: LinearPDE
    frequencies: Float[Array, "r p"] = eqx.field(converter=as_real, metadata={"real": True})
    variances: Float[Array, " r"] = eqx.field(converter=as_real)

    def evaluate(self, X1: Float[Array, " p1"], X2: Float[Array, " p1"]) -> Float[Array, ""]:
        z = jax.vmap(self.equation.exponents)(self.frequencies)
        terms = jnp.exp(z @ X1) * jnp.conj(jnp.exp(z @ X2))
        return jnp.sum(self.variances * jnp.mean(terms.real, axis=1))


class SolutionRegression(eqx.Module):
    """The posterior of a solution with learned frequencies: `mean` and `variance` at rows (x, t), `weights` beneath."""

    equation: LinearPDE
    frequencies: Float[Array, "r p"]
    regression: WeightSpace

    def mean(self, points: Float[Array, "k p1"]) -> Float[Array, " k"]:
        """Posterior mean of u, itself a solution."""
        return self.regression.mean(solution_features(self.equation, self.frequencies, points))

    def variance(self, points: Float[Array, "k p1"]) -> Float[Array, " k"]:
        """Posterior variance of u, without noise."""
        return self.regression.variance(solution_features(self.equation, self.frequencies, points))


class SolutionModel(eqx.Module):
    """Regression on r exponential solutions whose frequencies, variances and noise are learned (S-EPGP).

    y_i = u(x_i) + N(0, noise), u = sum_j w_j phi_j with w_j ~ N(0, s_j): the negative log evidence of `WeightSpace`,
    r features at n r^2, is made small over the unknowns `frequencies`, `log_variances` and `log_noise`.

    `points`: (n, p + 1) rows (x, t); `y`: (n,). Made by `solution_model`.

    Source: Harkonen, Lange-Hegermann and Raita (2023).
    """

    equation: LinearPDE
    points: Float[Array, "n p1"]
    y: Float[Array, " n"]

    def regression(self, unknowns: dict[str, Array]) -> SolutionRegression:
        """The posterior at given unknowns."""
        frequencies = unknowns["frequencies"]
        features = solution_features(self.equation, frequencies, self.points)
        each = features.shape[1] // len(frequencies)
        variances = jnp.repeat(jnp.exp(unknowns["log_variances"]), each)
        fit = weight_space(features, self.y, variances, jnp.exp(unknowns["log_noise"]) + self.floor)
        return SolutionRegression(self.equation, frequencies, fit)

    @property
    def floor(self) -> Float[Array, ""]:
        """Least noise variance, for data without noise: 1e-10 of the mean of y^2 (1e-6 in single precision)."""
        return (1e-10 if self.y.dtype == jnp.float64 else 1e-6) * jnp.mean(self.y**2)

    def target(self, unknowns: dict[str, Array]) -> Any:
        """The evidence as a target for `jn.algorithms.Mode`, with unknowns of the shapes of `unknowns`."""
        return from_log_density(_log_evidence, unknowns, self)

    def unknowns(self, key: PRNGKey, num: int, lengthscale: float) -> dict[str, Array]:
        """A start: `num` frequencies from N(0, I / lengthscale^2), equal variances, noise a hundredth of the data's."""
        p = self.points.shape[1] - 1
        scale = jnp.mean(self.y**2)
        return {
            "frequencies": jax.random.normal(key, (num, p), self.points.dtype) / lengthscale,
            "log_variances": jnp.full(num, jnp.log(scale / num)),
            "log_noise": jnp.log(0.01 * scale),
        }


def _log_evidence(unknowns: dict[str, Array], model: SolutionModel) -> Float[Array, ""]:
    return -model.regression(unknowns).regression.negative_log_evidence


def solution_model(equation: LinearPDE, points: Any, y: Any) -> SolutionModel:
    """A `SolutionModel` of data. Raises `InputError` for other shapes, or values that are not finite."""
    points, y = jnp.asarray(points, jnp.result_type(float)), jnp.asarray(y, jnp.result_type(float))
    if points.ndim != 2 or points.shape[1] < 2 or y.shape != (len(points),):
        raise InputError(
            f"points must be rows (x, t), shape (n, p + 1) with p >= 1, and y (n,), got {points.shape} and {y.shape}"
        )
    finite = bool(np.all(np.isfinite(points))) and bool(np.all(np.isfinite(y)))
    require(finite, "points or y has a value that is NaN or infinite")
    return SolutionModel(equation, points, y)
