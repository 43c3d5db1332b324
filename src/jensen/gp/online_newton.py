"""Online learning in the function space of a kernel, to second order: the kernel online Newton step, and its sketch."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jensen.core import Compiled, InputError, PRNGKey, Scalar, require, scalar_field
from jensen.gp._linalg import solve_lower, solve_upper
from jensen.gp.kernels.stationary import as_rows

Loss = Callable[[Float[Array, ""], Float[Array, ""]], Float[Array, ""]]


def squared_loss(prediction: Float[Array, ""], y: Float[Array, ""]) -> Float[Array, ""]:
    """(prediction - y)^2; for |prediction|, |y| <= C its curvature along its gradient is 1 / (8 C^2)."""
    return (prediction - y) ** 2


class OnlineRun(eqx.Module):
    """What an online learner did in T rounds.

    `predictions` and `losses`: (T,), each made before its row was learned from. `slopes`: loss' at the predictions.
    `kept`: the rounds whose curvature entered the dictionary (all of them for the exact method). `leverage`: the
    estimated ridge leverage score of each round, in [0, 1).
    """

    predictions: Float[Array, " t"]
    losses: Float[Array, " t"]
    slopes: Float[Array, " t"]
    kept: Bool[Array, " t"]
    leverage: Float[Array, " t"]


class KernelOnlineNewton(eqx.Module):
    """Kernel online Newton step: f_t = w_t . phi_t, A_t = A_(t-1) + s g_t g_t^T, u_(t+1) = w_t - A_t^-1 g_t.

    g_t = loss'(f_t) phi_t, A_0 = ridge I, and w_t is u_t projected, in the norm of A_(t-1), onto |w . phi_t| <= radius.
    All of it through kernel values: with D = s diag(loss'^2),
    A^-1 v = [v - Phi D^(1/2) (ridge I + D^(1/2) K D^(1/2))^-1 D^(1/2) Phi^T v] / ridge. For losses with
    l(w) >= l(w_t) + g_t . (w - w_t) + s/2 (g_t . (w - w_t))^2 where |w . phi| <= radius, regret to any such w is at
    most

    ridge |w|^2 / 2 + log det(I + D^(1/2) K D^(1/2) / ridge) / (2 s)  (`regret_bound`),

    which grows like the effective dimension times log T. On stationary streams of independent rows first-order methods
    with a good step can have less regret; the guarantee here needs no step.

    The sketch adds curvature only for the rounds that it keeps: with probability
    p_t = max(share, min(1, oversampling tau_t)), tau_t the leverage score of round t against the dictionary so far (an
    overestimate of the true one, as less curvature has been added). Kept rounds have weight 1, not 1 / p_t, so that no
    curvature exceeds that of the loss. `share` = 1 keeps all: the exact method. Space and time fall by share^2, regret
    rises by at most 1 / share.

    `curvature`: s, tied to the range of the loss: 1 / (8 radius^2) for the squared loss; larger ones void the bound.
    `ridge`: alpha. `radius`: C. `share`: gamma in (0, 1]. `oversampling`: beta >= 0. Buffers hold T rows, T^2 a round.

    Raises `InputError` for settings out of range.

    Source: Calandriello, Lazaric and Valko (2017), Second-order kernel online convex optimization with adaptive
    sketching; the sketch without weights is our reading of its proof.
    """

    kernel: Any
    loss: Loss = eqx.field(static=True, default=squared_loss)
    ridge: Scalar = scalar_field(1.0)
    curvature: Scalar = scalar_field(0.125)
    radius: Scalar = scalar_field(1.0)
    share: Scalar = scalar_field(1.0)
    oversampling: Scalar = scalar_field(1.0)

    def __check_init__(self):
        settings = (self.ridge, self.curvature, self.radius, self.share, self.oversampling)
        if any(isinstance(value, jax.core.Tracer) for value in settings):
            return
        for name in ("ridge", "curvature", "radius", "share"):
            value = float(getattr(self, name))
            require(value > 0, f"KernelOnlineNewton.{name} must be positive, got {value}")
        require(float(self.share) <= 1, f"KernelOnlineNewton.share must be at most 1, got {float(self.share)}")
        require(float(self.oversampling) >= 0, "KernelOnlineNewton.oversampling must be 0 or more")

    def run(self, key: PRNGKey, x: Any, y: Any) -> OnlineRun:
        """Predict and learn the rows x (T, d), y (T,) in their order. Raises `InputError` for other shapes, or NaN."""
        x, y = as_rows(jnp.asarray(x, jnp.result_type(float))), jnp.asarray(y, jnp.result_type(float))
        if x.ndim != 2 or y.shape != (len(x),):
            raise InputError(f"x must have shape (T, d) and y (T,), got {x.shape} and {y.shape}")
        finite = bool(np.all(np.isfinite(x))) and bool(np.all(np.isfinite(y)))
        require(finite, "x or y has a value that is NaN or infinite")
        return _rounds(self, key, self.kernel(x, x), y)

    def regret_bound(self, gram: Float[Array, "t t"], run: OnlineRun, norm_squared: Any) -> Float[Array, ""]:
        """ridge |w|^2 / 2 + log det(I + D^(1/2) K D^(1/2) / ridge) / (2 s), over all rounds of `run`.

        `gram`: the kernel at all inputs. `norm_squared`: |w|^2 of the comparator. For the sketch, multiply the second
        term (`regret_bound` at norm 0) by 1 / share.
        """
        return 0.5 * self.ridge * norm_squared + _half_log_det(self, gram, run.slopes) / self.curvature


class _Memory(eqx.Module):
    """u = sum_i coefficients_i phi_i, and the factor of ridge I + D^(1/2) K D^(1/2) with `roots` = D^(1/2).

    Rounds that are not kept have root 0, so that their rows of the factor are sqrt(ridge) e_i and take no part.
    """

    coefficients: Float[Array, " t"]
    roots: Float[Array, " t"]
    tril: Float[Array, "t t"]


@Compiled
def _half_log_det(learner: KernelOnlineNewton, gram: Array, slopes: Array) -> Array:
    roots = jnp.sqrt(learner.curvature) * jnp.abs(slopes)
    inner = jnp.eye(len(gram), dtype=gram.dtype) + roots[:, None] * gram * roots / learner.ridge
    return jnp.sum(jnp.log(jnp.diagonal(jnp.linalg.cholesky(inner))))


@Compiled
def _rounds(learner: KernelOnlineNewton, key: PRNGKey, gram: Array, y: Array) -> OnlineRun:
    size = len(y)
    root_ridge = jnp.sqrt(learner.ridge).astype(gram.dtype)

    def inverse(memory: _Memory, v: Array) -> Array:
        """Coefficients of A^-1 sum_i v_i phi_i."""
        pulled = memory.roots * (gram @ v)
        return (v - memory.roots * solve_upper(memory.tril, solve_lower(memory.tril, pulled))) / learner.ridge

    def one(memory: _Memory, rows: tuple[Array, Array]) -> tuple[_Memory, tuple[Array, ...]]:
        t, uniform = rows
        here = jnp.zeros(size, gram.dtype).at[t].set(1.0)
        k = gram[t]
        z = k @ memory.coefficients
        # projection onto |w . phi_t| <= radius in the norm of A
        toward = inverse(memory, here)
        own = k @ toward
        excess = jnp.sign(z) * jnp.maximum(jnp.abs(z) - learner.radius, 0.0)
        w = memory.coefficients - excess * toward / own
        prediction = k @ w
        value, slope = jax.value_and_grad(learner.loss)(prediction, y[t])
        gain = learner.curvature * slope**2 * own
        leverage = gain / (1 + gain)
        kept = uniform < jnp.maximum(learner.share, jnp.minimum(1.0, learner.oversampling * leverage))
        root = jnp.where(kept, jnp.sqrt(learner.curvature) * jnp.abs(slope), 0.0)
        # row t of the factor: the rows before are there, those after are sqrt(ridge) I and see roots of 0
        row = solve_lower(memory.tril, memory.roots * k * root)
        pivot = jnp.sqrt(jnp.maximum(learner.ridge + root**2 * k[t] - jnp.sum(row**2), 0.5 * learner.ridge))
        tril = memory.tril.at[t].set(jnp.where(jnp.arange(size) < t, row, 0.0).at[t].set(pivot))
        after = _Memory(w, memory.roots.at[t].set(root), tril)
        moved = w - slope * inverse(after, here)
        return _Memory(moved, after.roots, tril), (prediction, value, slope, kept, leverage)

    start = _Memory(jnp.zeros(size, gram.dtype), jnp.zeros(size, gram.dtype), root_ridge * jnp.eye(size))
    draws = jax.random.uniform(key, (size,), gram.dtype)
    _, found = jax.lax.scan(one, start, (jnp.arange(size), draws))
    return OnlineRun(*found)


@Compiled
def best_in_hindsight(gram: Float[Array, "t t"], y: Float[Array, " t"], ridge: Any) -> tuple[Array, Float[Array, ""]]:
    """The best ridge predictor in hindsight for the squared loss: its predictions (t,) and its squared norm.

    w minimises sum_i (w . phi_i - y_i)^2 + ridge |w|^2 / 2: coefficients (K + ridge / 2 I)^-1 y.
    """
    weights = jnp.linalg.solve(gram + 0.5 * ridge * jnp.eye(len(y), dtype=gram.dtype), y)
    predictions = gram @ weights
    return predictions, weights @ predictions
