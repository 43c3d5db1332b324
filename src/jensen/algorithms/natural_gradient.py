"""Natural-gradient Gaussian variational inference."""

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

from jensen.algorithms._gaussian import start_gaussian, stationarity
from jensen.algorithms._natural import NaturalGradient
from jensen.algorithms.derivatives import ExpectedDerivatives, HessianDraws
from jensen.core import (
    Clock,
    DensityPosterior,
    LogDensity,
    Posterior,
    PRNGKey,
    Scalar,
    Space,
    Step,
    make_step,
    scalar_field,
)
from jensen.families import Gaussian

MAX_SHIFT = 3.0  # longest move of the mean, in root mean square standard deviations of q


class NaturalGradientState(eqx.Module):
    """The Gaussian so far."""

    q: Gaussian


class NaturalGradientVI(NaturalGradient):
    """S^-1 <- S^-1 + r G + r^2/2 G S G with G = -E_q[hess log p] - S^-1;  m <- m + r S E_q[grad log p] with the new S.

    Natural-gradient ascent of the ELBO over Gaussians q = N(m, S). The plain step S^-1 + r G can leave the positive
    definite matrices; the second-order term is that of the exponential map of the geometry: no step lowers a precision
    below half of it, whatever p is. Near its optimum a step with r = 1 is Newton's: quadratic convergence on a Gaussian
    target.

    `rate`: r in (0, 1]. `settling`: last fraction of the run in which r is at most 2 / (s + 2) after s of its steps, so
    that noise falls as 1/s. `derivatives`: how the expectations are estimated. `tolerance`: stationarity, in units of
    q's standard deviations, at which the run stops as converged. A move of the mean longer than 3 root mean square
    standard deviations of q is cut to that length. The history holds -ELBO in nats and the stationarity as residual.

    A step costs the derivatives and one QR decomposition of a (2d, d) matrix. Not where log p has no second derivatives
    (then take `GradientDraws`), nor for d in the thousands.

    Raises `InputError` for a rate outside (0, 1].

    Source: Khan and Rue (2023), The Bayesian learning rule; the retraction: Lin, Schmidt and Khan (2020), Handling the
    positive-definite constraint in the Bayesian learning rule.
    """

    needs: ClassVar[Any] = LogDensity
    gives: ClassVar[type] = DensityPosterior
    exact: ClassVar[bool] = False
    brief: ClassVar[bool] = True
    derivatives: ExpectedDerivatives = HessianDraws()
    rate: Scalar = scalar_field(0.5)
    settling: Scalar = scalar_field(0.6)
    tolerance: Scalar = scalar_field(1e-9)

    @property
    def evaluations(self) -> int:
        return getattr(self.derivatives, "num_draws", 1)

    @property
    def default_steps(self) -> int:
        return 200

    def init(self, key: PRNGKey, target: Any, start: Posterior) -> NaturalGradientState:
        return NaturalGradientState(start_gaussian(start))

    def step(
        self, key: PRNGKey, state: NaturalGradientState, target: Any, clock: Clock
    ) -> tuple[NaturalGradientState, Step]:
        q = state.q
        value, gradient, hessian = self.derivatives.estimate(key, q, target)
        rate = jnp.minimum(self.rate, 2 / (self.settled(clock) + 2))
        residual = stationarity(q, gradient, hessian)
        new = NaturalGradientState(natural_step(q, gradient, hessian, rate))
        return new, make_step(-q.entropy() - value, residual, self.verdict(residual, q.dimension))

    def posterior(self, state: NaturalGradientState, draws: Any, space: Space) -> DensityPosterior:
        return DensityPosterior(space, state.q)


def natural_step(q: Gaussian, gradient: Float[Array, " d"], hessian: Float[Array, "d d"], rate: Scalar) -> Gaussian:
    """One step of the rule, in the coordinates in which q = N(0, I).

    There S^-1 + r G + r^2/2 G S G = (I + B^2) / 2 for B = I + r (A - I), A = -L^T E_q[hess log p] L. The new covariance
    is R R^T with R = sqrt(2) U^-T lower triangular, for I + B^2 = U U^T with U upper triangular: the triangle of a QR
    decomposition of (I, B), so that B is not squared and large eigenvalues do not drown small ones.
    """
    tril = q.scale_tril
    eye = jnp.eye(q.dimension, dtype=tril.dtype)
    b = (1 - rate) * eye - rate * (tril.T @ hessian @ tril)
    stacked = jnp.concatenate([eye, b])[:, ::-1]  # in reversed order of columns the triangle is a lower one
    lower = jnp.linalg.qr(stacked, mode="r")[::-1, ::-1]
    root = solve_triangular(lower * jnp.sign(jnp.diagonal(lower))[:, None], jnp.sqrt(2.0) * eye, lower=True)
    shift = rate * root @ (root.T @ (tril.T @ gradient))
    longest = MAX_SHIFT * jnp.sqrt(q.dimension)
    shift = shift * jnp.minimum(1.0, longest / jnp.maximum(jnp.linalg.norm(shift), jnp.finfo(shift.dtype).tiny))
    return Gaussian(q.mean + tril @ shift, tril @ root)
