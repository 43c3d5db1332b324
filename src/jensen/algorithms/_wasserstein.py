"""What descent in the Bures-Wasserstein space of Gaussians shares: all but the step itself."""

import abc
import warnings
from typing import Any, ClassVar, Self

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.algorithms._gaussian import bures_wasserstein_norm, start_gaussian, stationarity
from jensen.algorithms.derivatives import ExpectedDerivatives, HessianDraws
from jensen.core import (
    Algorithm,
    Clock,
    DensityPosterior,
    InputError,
    LogDensity,
    Posterior,
    PRNGKey,
    Scalar,
    Space,
    Step,
    StopCode,
    make_step,
    require,
    scalar_field,
)
from jensen.families import Gaussian

FORGET = 0.98  # share of the largest curvature met that is remembered a step: a poor start must not slow a whole run


class WassersteinState(eqx.Module):
    """The Gaussian so far, and the largest curvature of -log p met on the way (fading by 2 % a step)."""

    q: Gaussian
    curvature: Scalar


class WassersteinDescent(Algorithm):
    """q <- move(q, E_q[grad log p], E_q[hess log p], eta), eta = `step_size` / L, minimising KL(q || p) over Gaussians.

    L is the largest eigenvalue of E_q[hess log p] (in absolute value) met so far, fading by 2 % a step. `beyond` says
    what goes wrong for a step size above 1. See `ForwardBackward` for the settings.
    """

    needs: ClassVar[Any] = LogDensity
    gives: ClassVar[type] = DensityPosterior
    exact: ClassVar[bool] = False
    beyond: eqx.AbstractClassVar[str]
    derivatives: ExpectedDerivatives = HessianDraws()
    step_size: Scalar = scalar_field(0.9)
    settling: Scalar = scalar_field(0.5)
    tolerance: Scalar = scalar_field(1e-9)

    def __check_init__(self):
        if isinstance(self.step_size, jax.core.Tracer):
            return
        name, size = type(self).__name__, float(self.step_size)
        require(size > 0, f"{name}.step_size must be positive, got {size:g}", InputError)
        if size > 1:
            words = f"{name}: a step size of {size:g} / L is beyond the theory, which needs 1 / L or less."
            warnings.warn(f"{words} {self.beyond}", UserWarning, stacklevel=4)

    @abc.abstractmethod
    def move(self, q: Gaussian, gradient: Float[Array, " d"], hessian: Float[Array, "d d"], eta: Scalar) -> Gaussian:
        """The next Gaussian, for the expected derivatives of log p under q."""

    @property
    def default_steps(self) -> int:
        return 500

    @property
    def cooldown(self) -> float:
        return float(self.settling)

    def init(self, key: PRNGKey, target: Any, start: Posterior) -> WassersteinState:
        q = start_gaussian(start)
        return WassersteinState(q, jnp.asarray(jnp.finfo(q.mean.dtype).tiny, q.mean.dtype))

    def step(self, key: PRNGKey, state: WassersteinState, target: Any, clock: Clock) -> tuple[WassersteinState, Step]:
        q = state.q
        value, gradient, hessian = self.derivatives.estimate(key, q, target)
        bound = jnp.maximum(jnp.max(jnp.abs(jnp.linalg.eigvalsh(hessian))), FORGET * state.curvature)
        total = clock.total.astype(self.settling.dtype)
        shrinking = jnp.minimum(1.0, (total - clock.t + 1) / (self.settling * total + 1))
        new = self.move(q, gradient, hessian, self.step_size * shrinking / bound)
        residual = stationarity(q, gradient, hessian)
        done = (residual < self.tolerance) & (self.step_size <= 1)  # beyond the theory a fixed point may be a wrong one
        stop = jnp.where(done, StopCode.CONVERGED, StopCode.CONTINUE)
        norm = bures_wasserstein_norm(q, gradient, hessian)
        record = make_step(-q.entropy() - value, residual, stop, gradient_norm=norm, curvature=bound)
        return WassersteinState(new, bound), record

    def posterior(self, state: WassersteinState, draws: Any, space: Space) -> DensityPosterior:
        return DensityPosterior(space, state.q)

    def cautious(self) -> Self:
        return eqx.tree_at(lambda a: a.step_size, self, 0.5 * self.step_size)
