"""Gaussian-process state-space models: unknown dynamics behind a noisy series, as targets."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import cho_solve
from jax.scipy.stats import norm
from jaxtyping import Array, Float

from jensen.core import InputError, PRNGKey, Scalar, Space, Target, real_space, require, scalar_field
from jensen.gp._linalg import cholesky, solve_lower
from jensen.gp.hyperparameters import Hyperparameters
from jensen.gp.kernels._fields import as_real
from jensen.gp.kernels.stationary import as_rows


def _series(y: Any) -> Array:
    y = np.asarray(y, float)
    if not np.all(np.isfinite(y)):
        raise InputError("The series must be finite: NaN or infinity found")
    return as_rows(as_real(y))


def _points(x: Any) -> Array:
    return as_rows(as_real(x))


class _Dynamics(Target):
    """What the two forms share: the series, the inducing inputs, the hyperparameters theta and their prior."""

    kernel: Any
    y: Float[Array, "t d"] = eqx.field(converter=_series)
    inducing: Float[Array, "m d"] = eqx.field(converter=_points)
    process: Float[Array, "*d"] = eqx.field(converter=as_real)
    observation: Float[Array, "*d"] = eqx.field(converter=as_real)
    prior_scale: Scalar = scalar_field(0.5)
    start_scale: Scalar = scalar_field(1.0)

    def __check_init__(self):
        length, width = self.y.shape
        require(length >= 2, "A series of at least two observations is wanted")
        given = self.inducing.shape[1]
        require(given == width, f"Inducing inputs have {given} coordinates, the series {width}")

    @property
    def hyperparameters(self) -> Hyperparameters:
        """Of the kernel, and the standard deviations of both noises, one a coordinate."""
        noises = [jnp.broadcast_to(a, self.y.shape[1:]) for a in (self.process, self.observation)]
        return Hyperparameters({"kernel": self.kernel, "process": noises[0], "observation": noises[1]})

    @property
    def space(self) -> Space:
        return real_space(**self._shapes())

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return {"x": tuple(self.y.shape), "theta": (len(self.hyperparameters.names),)}

    def start(self, key: PRNGKey) -> Float[Array, " p"]:
        """States at the observations, theta at its centre, a little noise on all."""
        parts = {name: jnp.zeros(shape) for name, shape in self._shapes().items()}
        parts["x"], parts["theta"] = self.y, self.hyperparameters.theta
        z = self.space.join(parts)
        return z + 0.02 * jax.random.normal(key, z.shape, z.dtype)

    def features(self, kernel: Any, x: Float[Array, "n d"]) -> tuple[Float[Array, "n m"], Float[Array, " n"]]:
        """Phi = k(x, Z) L^-T and B = k(x, x) - Phi Phi^T of each row: f(x) = Phi u + N(0, B) for white u."""
        half = solve_lower(cholesky(kernel(self.inducing, self.inducing)), kernel(self.inducing, x))
        return half.T, jnp.maximum(kernel(x) - jnp.sum(half**2, 0), 0.0)

    def _common(self, parts: dict[str, Array]) -> tuple[dict[str, Any], Array, Array, Array, Array]:
        """Hyperparameters, Phi, B, the increments of x, and the terms that both forms have."""
        x, theta = parts["x"], parts["theta"]
        tree = self.hyperparameters.at(theta)
        phi, left = self.features(tree["kernel"], x[:-1])
        terms = jnp.sum(norm.logpdf(theta, self.hyperparameters.theta, self.prior_scale))
        terms += jnp.sum(norm.logpdf(x[0], self.y[0], self.start_scale))
        terms += jnp.sum(norm.logpdf(self.y, x, tree["observation"]))
        terms -= 0.5 * jnp.sum(left) * jnp.sum(1 / tree["process"] ** 2)
        return tree, phi, left, jnp.diff(x, axis=0), terms


class GPDynamics(_Dynamics):
    """x_{t+1} = x_t + f(x_t) + N(0, Q), y_t = x_t + N(0, R), f_d ~ GP(0, k): the free-form variational posterior.

    q(f, u, x, theta) = p(f | u) q(u, x, theta) with q(u, x, theta) free: the best one is proportional to exp{log N(u;
    0, I) + log p(theta) + log p(x_1) + sum_t [log N(x_{t+1}; x_t + Phi_t u, Q) - tr(Q^-1 B_t) / 2 + log N(y_t; x_t,
    R)]}, which is this log density; `SGHMC`, `NUTS` and the like draw from it. Its normaliser is a lower bound on log
    p(y). u are white inducing variables, Phi_t = k(x_t, Z) L^-T and B_t = k(x_t, x_t) - Phi_t Phi_t^T. Without the
    trace term it would be the over-confident DTC density.

    `y`: (t, d) or (t,). `inducing`: Z, (m, d) or (m,), points that cover the states. `process`, `observation`: standard
    deviations, the diagonals of Q and R. The kernel's hyperparameters and both deviations are unknowns, log-normal
    about the values given: `prior_scale` in logs (small: known). `start_scale`: of x_1 about y_1.

    Names of the unknowns: x (t, d), theta, u (d, m). Raises `InputError` for a series that is not finite or too short.

    Source: Fan, Bonilla, O'Kane and Sisson (2023), Free-form variational inference for Gaussian process state-space
    models.
    """

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return {**super()._shapes(), "u": (self.y.shape[1], self.inducing.shape[0])}

    def log_density(self, z: Float[Array, " p"]) -> Float[Array, ""]:
        parts = self.space.split(z)
        tree, phi, _, change, terms = self._common(parts)
        jump = phi @ parts["u"].T
        return terms + jnp.sum(norm.logpdf(parts["u"])) + jnp.sum(norm.logpdf(change, jump, tree["process"]))

    def transition(self, z: Float[Array, " p"], x: Any) -> tuple[Float[Array, "n d"], Float[Array, " n"]]:
        """Mean of the next state and variance of f at states x, given the unknowns z."""
        parts = self.space.split(z)
        phi, left = self.features(self.hyperparameters.at(parts["theta"])["kernel"], as_rows(x))
        return as_rows(x) + phi @ parts["u"].T, left


class CollapsedGPDynamics(_Dynamics):
    """`GPDynamics` with u integrated out: a log density over x and theta alone.

    For each output d with increments dx, H = I + Phi^T Phi / q_d and b = Phi^T dx / q_d the terms in u become -log det
    H / 2 + b^T H^-1 b / 2 + sum_t log N(dx_t; 0, q_d), and u | rest ~ N(H^-1 b, H^-1). Fewer unknowns, and none that is
    tied to the states as tightly as u is; O(t m^2) a value.

    Arguments and errors as `GPDynamics`. Source: the same, its collapsed extension.
    """

    def _posterior(self, phi: Array, change: Array, variance: Array) -> tuple[Array, Array]:
        """Cholesky factor of H and b, of one output."""
        inner = jnp.eye(phi.shape[1], dtype=phi.dtype) + phi.T @ phi / variance
        return jnp.linalg.cholesky(inner), phi.T @ change / variance

    def log_density(self, z: Float[Array, " p"]) -> Float[Array, ""]:
        tree, phi, _, change, terms = self._common(self.space.split(z))

        def of_output(change: Array, sd: Array) -> Array:
            tril, b = self._posterior(phi, change, sd**2)
            half = solve_lower(tril, b)
            return 0.5 * half @ half - jnp.sum(jnp.log(jnp.diagonal(tril))) + jnp.sum(norm.logpdf(change, 0.0, sd))

        return terms + jnp.sum(jax.vmap(of_output, (1, 0))(change, tree["process"]))

    def transition(self, z: Float[Array, " p"], x: Any) -> tuple[Float[Array, "n d"], Float[Array, "n d"]]:
        """Mean of the next state and variance of f at states x, given the unknowns z, over u."""
        tree, phi, _, change, _ = self._common(self.space.split(z))
        new, left = self.features(tree["kernel"], as_rows(x))

        def of_output(change: Array, sd: Array) -> tuple[Array, Array]:
            tril, b = self._posterior(phi, change, sd**2)
            return new @ cho_solve((tril, True), b), jnp.sum(solve_lower(tril, new.T) ** 2, 0) + left

        mean, variance = jax.vmap(of_output, (1, 0), 1)(change, tree["process"])
        return as_rows(x) + mean, variance
