"""Any f-divergence of the posterior from q."""

import math
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jensen.core import GradientEstimator, InputError, Scalar
from jensen.core.fields import as_scalar
from jensen.gradient_estimators import DoublyReparameterised
from jensen.objectives._of_log_weights import OfLogWeights, check_setting, check_weights, log_mean_exp
from jensen.objectives.generators import FORWARD_KL, Generator

GRID = np.geomspace(1e-3, 1e3, 41)


class FDivergence(OfLogWeights):
    """D_f(posterior || q) = E_q[f(r)], r = posterior / q = w / Z, by K draws with Z = 1/K sum_k w_k.

    f: convex on (0, inf), a function of r or one of `objectives.generators`, which are safe against overflow; f(1) is
    taken off, for a divergence is zero where q = p. D_f(q || p) is that of r f(1/r). In nats where f has a logarithm.
    Reweighting by K = `num_weights` draws makes value and gradient those of an estimate that is biased by O(1/K). With
    `DoublyReparameterised` or `PathGradient` a draw has the weight h(r) = f''(r) r^2 up to O(1/K): forward KL and
    Pearson's chi^2 weigh draws where p is under-represented, reverse KL weighs all alike. No bound on the evidence.

    `log_evidence`: log Z where it is known, as of a density that is normalised: r is then exact, value and gradient are
    without bias, and mass of p that no draw comes near counts. Where it is estimated from the same draws, a q that has
    settled on one of several modes looks as good as one that has them all.

    Raises `InputError` if f is not convex or not finite on [1e-3, 1e3], for K < 2 (1 where the evidence is
    given), with `StickingTheLanding`, or for an evidence that is not finite.

    Source: Csiszar (1967); the weights h: Xu, Nie and Vahdat (2025).
    """

    bound: ClassVar[str | None] = None
    f: Any = eqx.field(static=True, default=FORWARD_KL)
    num_weights: int = eqx.field(static=True, default=32)
    estimator: GradientEstimator = DoublyReparameterised(num_draws=2)
    log_evidence: Scalar | None = eqx.field(default=None, converter=lambda v: None if v is None else as_scalar(v))

    def __check_init__(self):
        check_weights(self, least=2 if self.log_evidence is None else 1)
        if self.log_evidence is not None:
            check_setting("log_evidence", self.log_evidence, math.isfinite, "finite")
        _check_convex(self.f)

    def phi(self, log_w: Float[Array, " k"]) -> Float[Array, ""]:
        log_r = log_w - (log_mean_exp(log_w) if self.log_evidence is None else self.log_evidence)
        values = self.f.of_log(log_r) if isinstance(self.f, Generator) else jax.vmap(self.f)(jnp.exp(log_r))
        return jnp.mean(values) - self.f(jnp.ones((), log_r.dtype))


def _check_convex(f: Any) -> None:
    """Slopes between neighbours on a grid of r must not fall, but for rounding. Raises `InputError`."""
    if not callable(f):
        raise InputError(f"f must be a function of the ratio r > 0, got {type(f).__name__}")
    with jax.ensure_compile_time_eval():
        values = np.asarray(jax.vmap(f)(jnp.asarray(GRID, jnp.result_type(float))))
    if values.shape != GRID.shape:
        raise InputError(f"f must map a scalar r to a scalar, got an array of shape {values.shape[1:]}")
    if not np.all(np.isfinite(values)):
        r = GRID[np.flatnonzero(~np.isfinite(values))[0]]
        raise InputError(f"f is not finite at r = {r:.3g}: an f-divergence needs it on all of (0, inf)")
    width = np.diff(GRID)
    slopes = np.diff(values.astype(float)) / width
    rounding = 8 * np.finfo(values.dtype).eps * (np.abs(values[1:]) + np.abs(values[:-1])) / width
    falls = np.flatnonzero(np.diff(slopes) < -(rounding[1:] + rounding[:-1]))
    if len(falls):
        raise InputError(
            f"f is not convex near r = {GRID[falls[0] + 1]:.3g}: an f-divergence needs a convex f (for D_f(q || p) "
            "pass r f(1/r))"
        )
