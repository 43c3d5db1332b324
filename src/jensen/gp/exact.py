"""Regression with Gaussian noise, where sites have a closed form: exact, and the collapsed bound of inducing points."""

import abc
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jensen.core import Compiled, Scalar, as_scalar
from jensen.gp._collapsed import Rows, collapsed_bound, inverse_factor, products, whitener
from jensen.gp._conditioned import ConditionedCollapsed, ConditionedExact
from jensen.gp._linalg import LOG_2PI, inverse_from, log_normal, solve_lower, solve_upper
from jensen.gp.kernels.stationary import as_rows
from jensen.gp.priors.inducing import Features, Points


class GaussianRegression(eqx.Module):
    """y = f(x) + N(0, noise), f ~ GP(0, k): evidence (or its bound) and predictions of f."""

    pointwise: ClassVar[bool] = False  # whether a prediction depends on one input alone, and not on those beside it
    y: eqx.AbstractVar[Float[Array, " n"]]

    @abc.abstractmethod
    def at(self, parts: dict[str, Any]) -> "GaussianRegression":
        """The same data with other trained parts: `kernel`, `noise`, and `features` where there are some."""

    @abc.abstractmethod
    def log_evidence(self) -> Float[Array, ""]:
        """log p(y), or a lower bound on it, in nats."""

    @abc.abstractmethod
    def predict(self, x: Any) -> tuple[Float[Array, " m"], Float[Array, " m"]]:
        """Mean and variance of f at new inputs."""

    @abc.abstractmethod
    def joint(self, x: Any) -> tuple[Float[Array, " m"], Float[Array, "m m"]]:
        """Mean and joint covariance of f at new inputs."""

    def conditioned(self) -> Any:
        """What predicts without passing over the data again, with the same `predict` and `joint`; itself without."""
        return self


class Exact(GaussianRegression):
    """The exact posterior, by the Cholesky factor of K + noise I: O(n^3).

    log p(y) = -1/2 y^T (K + noise I)^-1 y - 1/2 log det(K + noise I) - n/2 log 2 pi.

    `kernel`: of tinygp or jensen.gp.kernels. `noise`: variance. `x`: (n, d) or (n,). `y`: (n,). `present`: rows that
    count (the others pad arrays to a common shape, so that data of other sizes run the same compiled program).

    m rows at one input count by their mean alone: they may be given as one row with y their mean and `repeats` m (n,),
    of variance noise / m, and `scatter` the sum of (y - mean)^2 over all such groups, for the evidence. The posterior
    is the same, n that of distinct inputs (`merged`). `rounding`: a variance that is added to the noise and not
    trained, that of the rounding of y (`rounding_variance`).
    """

    kernel: Any
    noise: Scalar
    x: Float[Array, "n d"]
    y: Float[Array, " n"]
    present: Bool[Array, " n"]
    repeats: Float[Array, " n"]
    scatter: Scalar
    rounding: Scalar

    def __init__(
        self,
        kernel: Any,
        noise: Any,
        x: Any,
        y: Any,
        present: Any = None,
        repeats: Any = None,
        scatter: Any = 0.0,
        rounding: Any = 0.0,
    ):
        self.kernel, self.noise = kernel, as_scalar(noise)
        self.x, self.y = as_rows(x), jnp.asarray(y)
        self.present = jnp.ones(self.y.shape, bool) if present is None else jnp.asarray(present)
        self.repeats = jnp.ones_like(self.y) if repeats is None else jnp.asarray(repeats, self.y.dtype)
        self.scatter, self.rounding = as_scalar(scatter), as_scalar(rounding)

    def at(self, parts: dict[str, Any]) -> "Exact":
        return eqx.tree_at(lambda m: (m.kernel, m.noise), self, (parts["kernel"], parts["noise"]))

    @property
    def _noise(self) -> Scalar:
        return self.noise + self.rounding

    def _covariance(self) -> Float[Array, "n n"]:
        both = self.present[:, None] & self.present
        k = jnp.where(both, self.kernel(self.x, self.x), 0.0)
        return k + jnp.diag(jnp.where(self.present, self._noise / self.repeats, 1.0))

    def _factor(self) -> Float[Array, "n n"]:
        return jnp.linalg.cholesky(self._covariance())

    @Compiled
    def log_evidence(self) -> Float[Array, ""]:
        absent = 0.5 * jnp.sum(~self.present) * LOG_2PI  # each has density N(0; 0, 1)
        more = jnp.sum(jnp.where(self.present, self.repeats - 1, 0.0))
        within = more * (LOG_2PI + jnp.log(self._noise)) + self.scatter / self._noise + jnp.sum(jnp.log(self.repeats))
        return log_normal(jnp.where(self.present, self.y, 0.0), self._covariance()) + absent - 0.5 * within

    @Compiled
    def conditioned(self) -> ConditionedExact:
        tril = self._factor()
        white = solve_lower(tril, jnp.where(self.present, self.y, 0.0))
        return ConditionedExact(self.kernel, self.x, self.present, tril, white)

    @Compiled
    def predict(self, x: Any) -> tuple[Float[Array, " m"], Float[Array, " m"]]:
        return self.conditioned().predict(x)

    @Compiled
    def joint(self, x: Any) -> tuple[Float[Array, " m"], Float[Array, "m m"]]:
        return self.conditioned().joint(x)

    @Compiled
    def leave_one_out(self) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
        """Mean and variance of each y_i given all others: y_i - a_i / c_i and 1 / c_i, a = C^-1 y, c = diag C^-1.

        Of rows that stand for several, those of their mean.
        """
        tril = self._factor()
        precision = jnp.sum(inverse_from(tril)[0] ** 2, 1)
        weights = solve_upper(tril, solve_lower(tril, jnp.where(self.present, self.y, 0.0)))
        return self.y - weights / precision, 1 / precision


def merged(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """(x, y, repeats, scatter) of the distinct rows of x (n, d) and the means of y (n,) there: see `Exact`."""
    places, index, counts = np.unique(x, axis=0, return_inverse=True, return_counts=True)
    if len(places) == len(x):
        return x, y, np.ones(len(x)), 0.0
    index = index.reshape(-1)
    means = np.bincount(index, y) / counts
    return places, means, counts.astype(float), float(np.sum((y - means[index]) ** 2))


def rounding_variance(x: np.ndarray, y: np.ndarray) -> float:
    """gap^2 / 12, gap the least distance of two targets, where an input comes twice with the same target; else 0.

    Targets are recorded to so many digits. Two equal ones at one input would have any density as the noise goes to
    zero, and say no more than that they are within the same gap; where no target comes twice at an input, nothing
    depends on it.
    """
    values, pairs = np.unique(y), np.unique(np.column_stack([x, y]), axis=0)
    return float(np.min(np.diff(values))) ** 2 / 12 if len(pairs) < len(x) and len(values) > 1 else 0.0


class Collapsed(GaussianRegression):
    """The best q(u) for inducing variables u, in closed form: O(n M^2) time, and memory of a few thousand rows.

    Bound log N(y; 0, Q + noise I) - tr(K - Q) / (2 noise) <= log p(y), Q = Kfu Kuu^-1 Kuf; equal where u determines f
    at x. `features`: inducing points (M, d), or any `Features`. `blocks`: where given, only so many blocks of up to
    2,048 rows are seen, spread evenly over all, and count as often as makes n rows of them: an estimate on which
    training can begin, by the same compiled program.

    The bound can be differentiated backwards, and forwards after that (a Hessian), but not forwards alone.

    Source: Titsias (2009), Variational learning of inducing variables in sparse Gaussian processes.
    """

    kernel: Any
    noise: Scalar
    x: Float[Array, "n d"]
    y: Float[Array, " n"]
    features: Features
    present: Bool[Array, " n"]
    blocks: Int[Array, ""] | None

    def __init__(self, kernel: Any, noise: Any, x: Any, y: Any, features: Any, present: Any = None, blocks: Any = None):
        self.kernel, self.noise = kernel, as_scalar(noise)
        self.x, self.y = as_rows(x), jnp.asarray(y)
        self.features = features if isinstance(features, Features) else Points(features)
        self.present = jnp.ones(self.y.shape, bool) if present is None else jnp.asarray(present)
        self.blocks = None if blocks is None else jnp.asarray(blocks, jnp.int32)

    def at(self, parts: dict[str, Any]) -> "Collapsed":
        new = parts["kernel"], parts["noise"], parts.get("features", self.features)
        return eqx.tree_at(lambda m: (m.kernel, m.noise, m.features), self, new)

    @Compiled
    def log_evidence(self) -> Float[Array, ""]:
        parts = self.kernel, self.features, self.noise, self.x, self.y
        return collapsed_bound(parts, self.present, self.blocks)

    @Compiled
    def conditioned(self) -> ConditionedCollapsed:
        inverse = whitener(self.kernel, self.features)
        rows = Rows(self.x, self.y, self.present, self.blocks)
        sums = products(self.kernel, self.features, inverse, rows)
        half = inverse_factor(jnp.eye(inverse.shape[0], dtype=inverse.dtype) + sums.square / self.noise)
        mean = half.T @ (half @ sums.pulled) / self.noise
        return ConditionedCollapsed(self.kernel, self.features, inverse, half, mean)

    @Compiled
    def predict(self, x: Any) -> tuple[Float[Array, " m"], Float[Array, " m"]]:
        return self.conditioned().predict(x)

    @Compiled
    def joint(self, x: Any) -> tuple[Float[Array, " m"], Float[Array, "m m"]]:
        return self.conditioned().joint(x)
