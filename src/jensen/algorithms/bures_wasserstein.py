"""Bures-Wasserstein gradient descent of the Kullback-Leibler divergence."""

from typing import ClassVar

import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

from jensen.algorithms._gaussian import lower_factor
from jensen.algorithms._wasserstein import WassersteinDescent
from jensen.core import Scalar
from jensen.families import Gaussian


class BuresWassersteinGradient(WassersteinDescent):
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

    beyond: ClassVar[str] = "It may oscillate, and the run will not be called converged."

    def move(self, q: Gaussian, gradient: Float[Array, " d"], hessian: Float[Array, "d d"], eta: Scalar) -> Gaussian:
        return descend(q, gradient, hessian, eta)


def descend(q: Gaussian, gradient: Float[Array, " d"], hessian: Float[Array, "d d"], eta: Scalar) -> Gaussian:
    """(m + eta g, M L) with M = I + eta (H + S^-1), for g and H the expected derivatives of log p."""
    inverse = solve_triangular(q.scale_tril, jnp.eye(q.dimension, dtype=q.mean.dtype), lower=True, trans="T")  # S^-1 L
    root = q.scale_tril + eta * (hessian @ q.scale_tril + inverse)
    return Gaussian(q.mean + eta * gradient, lower_factor(root))
