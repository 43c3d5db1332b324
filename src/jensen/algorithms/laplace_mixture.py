"""A mixture of Laplace approximations, one at each mode."""

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from jensen.algorithms.laplace import Laplace, LaplaceState
from jensen.core import Algorithm, Clock, DensityPosterior, LogDensity, Posterior, PRNGKey, Space, Step
from jensen.families.mixture import GaussianMixture

SAME = 3.0  # modes closer than this, in posterior standard deviations a coordinate, are one
NEGLIGIBLE = 1e-4  # share of the mass below which a mode is left out


class LaplaceMixture(Algorithm):
    """q = sum_k w_k N(z_k, (-H_k)^-1) over the distinct modes z_k, with w_k the Laplace mass of each.

    w_k is proportional to p(z_k) det(-H_k)^-1/2. `climb` finds the modes, by damped Newton from many starts; climbs
    that do not arrive at a maximum are left out. The number of components is that of the modes found; with one mode
    this is `Laplace` itself.

    Right for a few far, nearly Gaussian modes (label switching, sign symmetry); importance weights then correct the
    rest. It finds only modes that a start leads to, and costs as `Laplace` does: not for d above a few hundred.

    Source: Gelman et al., Bayesian Data Analysis (2013), section 13.3; Bornkamp (2011).
    """

    needs: ClassVar[Any] = LogDensity
    gives: ClassVar[type] = DensityPosterior
    brief: ClassVar[bool] = True
    climb: Laplace = eqx.field(default_factory=lambda: Laplace(num_starts=16))

    @property
    def default_steps(self) -> int:
        return self.climb.default_steps

    def init(self, key: PRNGKey, target: Any, start: Posterior) -> LaplaceState:
        return self.climb.init(key, target, start)

    def step(self, key: PRNGKey, state: LaplaceState, target: Any, clock: Clock) -> tuple[LaplaceState, Step]:
        return self.climb.step(key, state, target, clock)

    def posterior(self, state: LaplaceState, draws: Any, space: Space) -> DensityPosterior:
        mixture = mixture_of_modes(
            np.asarray(state.climbs.z),
            np.asarray(state.climbs.value),
            np.asarray(state.climbs.hessian),
            np.asarray(state.decrement) < 0.1,
        )
        return self.climb.posterior(state, draws, space) if mixture is None else DensityPosterior(space, mixture)


def mixture_of_modes(
    z: np.ndarray, value: np.ndarray, hessian: np.ndarray, arrived: np.ndarray
) -> GaussianMixture | None:
    """The mixture over distinct modes of the climbs that ended at z (k, d); None if none is a proper maximum."""
    centres, trils, masses = [], [], []
    for i in np.argsort(-value):
        if not arrived[i] or not np.isfinite(value[i]):
            continue
        eigenvalues, vectors = np.linalg.eigh(-hessian[i])
        if eigenvalues[0] <= 0:
            continue
        offsets = [z[i] - centre for centre in centres]
        distances = [np.sqrt(o @ -hessian[i] @ o / z.shape[1]) for o in offsets]
        if distances and min(distances) < SAME:
            continue
        centres.append(z[i])
        trils.append(np.linalg.cholesky((vectors / eigenvalues) @ vectors.T))
        masses.append(value[i] - 0.5 * np.sum(np.log(eigenvalues)))
    if not centres:
        return None
    logits = np.array(masses) - np.max(masses)
    kept = logits > np.log(NEGLIGIBLE)
    return GaussianMixture(*(jnp.asarray(np.array(a)[kept]) for a in (logits, centres, trils)))
