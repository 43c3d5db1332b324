"""Forward-backward Gaussian variational inference."""

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.algorithms._gaussian import lower_factor
from jensen.algorithms._wasserstein import WassersteinDescent
from jensen.core import Scalar
from jensen.families import Gaussian


class ForwardBackward(WassersteinDescent):
    """m <- m - eta E_q[grad V];  S <- 1/2 (F + 2 eta I + sqrt(F (F + 4 eta I))) where F = M S M.

    M = I - eta E_q[hess V]. Minimises KL(q || p) over Gaussians q = N(m, S) with V = -log p: a gradient step on E_q[V]
    in the Bures-Wasserstein space (forward), then the exact proximal step of the entropy (backward). No eigenvalue of S
    ever falls below eta. Converges to the minimum at a linear rate where p is strongly log-concave and eta <= 1 / L;
    for larger eta the fixed point has another covariance (eta / (2 - eta h) in place of 1 / h along a direction of
    curvature h, none at all from eta h = 2), so that a larger step size is warned of and never reported as converged.

    `derivatives`: how the expectations are estimated. `step_size`: eta in units of 1 / L, with L the largest eigenvalue
    of E_q[hess V] (in absolute value) met so far (fading by 2 % a step, so that a poor start does not slow the whole
    run). `settling`: last fraction of the run in which eta falls to zero linearly, against the noise of the estimates;
    0 keeps it constant. `tolerance`: stationarity, in units of q's standard deviations, at which the run stops as
    converged (see `stationarity` in the history's residual). The history holds -ELBO in nats, the Bures-Wasserstein
    `gradient_norm` and the `curvature` bound.

    A step costs the derivatives (num_draws (d + 1) gradients by default) and two symmetric eigendecompositions. Slow
    where the condition number of E_q[hess V] is large: there take `NaturalGradientVI` or `BatchMatch`.

    Raises `InputError` for a step size that is not positive; warns (`UserWarning`) of one above 1.

    Source: Diao, Balasubramanian, Chewi and Salim (2023), Forward-backward Gaussian variational inference via JKO in
    the Bures-Wasserstein space.
    """

    beyond: ClassVar[str] = "Its fixed point has a wrong covariance, and the run will not be called converged."

    def move(self, q: Gaussian, gradient: Float[Array, " d"], hessian: Float[Array, "d d"], eta: Scalar) -> Gaussian:
        return backward(forward(q, gradient, hessian, eta), eta)


def forward(q: Gaussian, gradient: Float[Array, " d"], hessian: Float[Array, "d d"], eta: Scalar) -> Gaussian:
    """N(m + eta g, M S M) with M = I + eta H, for g, H the expected derivatives of log p; root not triangular."""
    return Gaussian(q.mean + eta * gradient, q.scale_tril + eta * hessian @ q.scale_tril)


def backward(q: Gaussian, eta: Scalar) -> Gaussian:
    """The proximal step of the entropy: an eigenvalue s of S becomes (s + 2 eta + sqrt(s (s + 4 eta))) / 2."""
    s, vectors = jnp.linalg.eigh(q.scale_tril @ q.scale_tril.T)
    s = jnp.maximum(s, 0.0)  # rounding makes zeros negative where eta L = 1
    root = vectors * jnp.sqrt(0.5 * (s + 2 * eta + jnp.sqrt(s * (s + 4 * eta))))
    return Gaussian(q.mean, lower_factor(root))
