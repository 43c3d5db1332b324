"""What descent in the Bures-Wasserstein space of Gaussians shares: the state, and the cap on steps by curvature."""

import warnings

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.algorithms._gaussian import bures_wasserstein_norm, start_gaussian, stationarity
from jensen.core import Clock, InputError, Posterior, Scalar, Step, StopCode, make_step, require
from jensen.families import Gaussian

FORGET = 0.98  # share of the largest curvature met that is remembered a step: a poor start must not slow a whole run


class WassersteinState(eqx.Module):
    """The Gaussian so far, and the largest curvature of -log p met on the way (fading by 2 % a step)."""

    q: Gaussian
    curvature: Scalar


def start_wasserstein(start: Posterior) -> WassersteinState:
    """The first state: no curvature has been met."""
    q = start_gaussian(start)
    return WassersteinState(q, jnp.asarray(jnp.finfo(q.mean.dtype).tiny, q.mean.dtype))


def bound_curvature(remembered: Scalar, curvature: Float[Array, "d d"]) -> Scalar:
    """max(largest absolute eigenvalue of E_q[hess log p], 0.98 of the bound so far)."""
    return jnp.maximum(jnp.max(jnp.abs(jnp.linalg.eigvalsh(curvature))), FORGET * remembered)


def shrinking(clock: Clock, settling: Scalar) -> Scalar:
    """1 up to the last fraction `settling` of a run, then linearly down to 1 / (its steps + 1)."""
    total = clock.total.astype(settling.dtype)
    return jnp.minimum(1.0, (total - clock.t + 1) / (settling * total + 1))


def check_step_size(name: str, step_size: Scalar, beyond: str) -> None:
    """Raise `InputError` for a step size that is not positive; warn of one beyond 1 / L."""
    if isinstance(step_size, jax.core.Tracer):
        return
    size = float(step_size)
    require(size > 0, f"{name}.step_size must be positive, got {size:g}", InputError)
    if size > 1:
        words = f"{name}: a step size of {size:g} / L is beyond the theory, which needs 1 / L or less. {beyond}"
        warnings.warn(words, UserWarning, stacklevel=4)


def report(
    q: Gaussian,
    derivatives: tuple[Scalar, Float[Array, " d"], Float[Array, "d d"]],
    state: WassersteinState,
    step_size: Scalar,
    tolerance: Scalar,
) -> Step:
    """The step's record at the q that it began from; converged only where the step size is within the theory."""
    value, gradient, hessian = derivatives
    residual = stationarity(q, gradient, hessian)
    stop = jnp.where((residual < tolerance) & (step_size <= 1), StopCode.CONVERGED, StopCode.CONTINUE)
    norm = bures_wasserstein_norm(q, gradient, hessian)
    return make_step(-q.entropy() - value, residual, stop, gradient_norm=norm, curvature=state.curvature)
