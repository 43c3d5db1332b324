"""Bures-Wasserstein gradient descent of the Kullback-Leibler divergence."""

from typing import Any, ClassVar, Self

import equinox as eqx
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

from jensen.algorithms._gaussian import lower_factor
from jensen.algorithms._wasserstein import (
    WassersteinState,
    bound_curvature,
    check_step_size,
    report,
    shrinking,
    start_wasserstein,
)
from jensen.algorithms.derivatives import ExpectedDerivatives, HessianDraws
from jensen.core import (
    Algorithm,
    Clock,
    DensityPosterior,
    LogDensity,
    Posterior,
    PRNGKey,
    Scalar,
    Space,
    Step,
    scalar_field,
)
from jensen.families import Gaussian


class BuresWassersteinGradient(Algorithm):
    """m <- m - eta E_q[grad V];  S <- M S M with M = I - eta (E_q[hess V] - S^-1).

    Gradient descent of KL(q || p) over Gaussians q = N(m, S) with V = -log p, entropy included: the explicit method to
    which `ForwardBackward` is the semi-implicit one. Where eta is near 2 / L or S is small it oscillates, which the
    proximal step cannot; prefer `ForwardBackward`, for this is here to be compared with.

    `derivatives`: how the expectations are estimated. `step_size`: eta in units of 1 / L, with L the largest eigenvalue
    of E_q[hess V] (in absolute value) met so far (fading by 2 % a step, so that a poor start does not slow the whole
    run). `settling`: last fraction of the run in which eta falls to zero linearly, against the noise of the estimates;
    0 keeps it constant. `tolerance`: stationarity, in units of q's standard deviations, at which the run stops as
    converged (see `stationarity` in the history's residual). The history holds -ELBO in nats, the Bures-Wasserstein
    `gradient_norm` and the `curvature` bound.

    Raises `InputError` for a step size that is not positive; warns (`UserWarning`) of one above 1.

    Source: Lambert, Chewi, Bach, Bonnabel and Rigollet (2022), Variational inference via Wasserstein gradient flows.
    """

    needs: ClassVar[Any] = LogDensity
    gives: ClassVar[type] = DensityPosterior
    exact: ClassVar[bool] = False
    derivatives: ExpectedDerivatives = HessianDraws()
    step_size: Scalar = scalar_field(0.9)
    settling: Scalar = scalar_field(0.5)
    tolerance: Scalar = scalar_field(1e-9)

    def __check_init__(self):
        check_step_size(
            "BuresWassersteinGradient", self.step_size, "It may oscillate, and the run will not be called converged."
        )

    @property
    def default_steps(self) -> int:
        return 500

    @property
    def cooldown(self) -> float:
        return float(self.settling)

    def init(self, key: PRNGKey, target: Any, start: Posterior) -> WassersteinState:
        return start_wasserstein(start)

    def step(self, key: PRNGKey, state: WassersteinState, target: Any, clock: Clock) -> tuple[WassersteinState, Step]:
        q = state.q
        value, gradient, hessian = self.derivatives.estimate(key, q, target)
        bound = bound_curvature(state.curvature, hessian)
        eta = self.step_size * shrinking(clock, self.settling) / bound
        new = WassersteinState(descend(q, gradient, hessian, eta), bound)
        return new, report(q, (value, gradient, hessian), new, self.step_size, self.tolerance)

    def posterior(self, state: WassersteinState, draws: Any, space: Space) -> DensityPosterior:
        return DensityPosterior(space, state.q)

    def cautious(self) -> Self:
        return eqx.tree_at(lambda a: a.step_size, self, 0.5 * self.step_size)


def descend(q: Gaussian, gradient: Float[Array, " d"], hessian: Float[Array, "d d"], eta: Scalar) -> Gaussian:
    """(m + eta g, M L) with M = I + eta (H + S^-1), for g and H the expected derivatives of log p."""
    inverse = solve_triangular(q.scale_tril, jnp.eye(q.dimension, dtype=q.mean.dtype), lower=True, trans="T")  # S^-1 L
    root = q.scale_tril + eta * (hessian @ q.scale_tril + inverse)
    return Gaussian(q.mean + eta * gradient, lower_factor(root))
