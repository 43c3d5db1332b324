"""The contract's target for update rules over sites: a linear Gaussian model whose posterior is known."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jensen.core import Scalar, Space, Target, Variable, positive, scalar_field
from jensen.gp.likelihoods import Gaussian
from jensen.gp.priors._white import Design, WhitePrior
from tests.contract.target import MEAN, SCALE_TRIL

SHRINK = 0.5  # the posterior must be narrower than the prior N(0, I)
NOISE = 0.3


class LinearPrior(WhitePrior):
    """f = A z with z ~ N(0, I)."""

    weights: Float[Array, "n 1 d"]

    @property
    def num_sites(self) -> int:
        return self.weights.shape[0]

    @property
    def dimension(self) -> int:
        return self.weights.shape[2]

    def design(self) -> Design:
        n = self.num_sites
        return Design(jnp.zeros((n, 1)), self.weights, jnp.zeros((n, 1, 1)))

    def design_at(self, x: Any) -> Design:
        return self.design()

    def joint_residual(self, x: Any) -> Array:
        return jnp.zeros((self.num_sites, 1, self.num_sites, 1))


class SitedGaussian(Target):
    """log p(z) = log N(z; 0, I) + sum_i log N(y_i; A_i z, noise), whose posterior is N(mean, L L^T).

    Terms are NaN where all f_i are within `hole` of those of the posterior mean.
    """

    space: Space
    prior: LinearPrior
    y: Float[Array, " n"]
    mean: Float[Array, " d"]
    scale_tril: Float[Array, "d d"]
    hole: Scalar = scalar_field(0.0)

    def log_density(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        f, _ = self.prior.from_white(z)
        return jnp.sum(jax.scipy.stats.norm.logpdf(z)) + jnp.sum(self.log_terms(f))

    def _broken(self, f: Array, values: Array) -> Array:
        centre = (self.prior.weights @ self.mean)[:, 0]
        near = jnp.max(jnp.abs(f[:, 0] - centre)) < self.hole if f.shape[0] == len(centre) else False
        return jnp.where(near, jnp.nan, values)

    def log_terms(self, f: Float[Array, "n k"]) -> Float[Array, " n"]:
        return self._broken(f, jax.vmap(Gaussian(NOISE).log_prob)(self.y, f))

    def expected(self, mean: Float[Array, "n k"], cov: Float[Array, "n k k"]) -> Float[Array, " n"]:
        return self._broken(mean, jax.vmap(Gaussian(NOISE).expected)(self.y, mean, cov))

    def log_tilted(self, mean: Float[Array, "n k"], cov: Float[Array, "n k k"], power: Scalar) -> Float[Array, " n"]:
        values = jax.vmap(lambda y, m, c: Gaussian(NOISE).log_tilted(y, m, c, power))(self.y, mean, cov)
        return self._broken(mean, values)

    def terms(self, rows: Int[Array, " b"]) -> Any:
        return SitedGaussian(self.space, self.prior, self.y[rows], self.mean, self.scale_tril, self.hole)


def sited_gaussian(scale: float = 1.0, hole: float = 0.0) -> SitedGaussian:
    """Posterior N(scale * m, S / 4), d = 4, from four sites."""
    tril = SHRINK * np.asarray(SCALE_TRIL)
    mean = scale * np.asarray(MEAN)
    precision = np.linalg.inv(tril @ tril.T)
    weights = np.sqrt(NOISE) * np.linalg.cholesky(precision - np.eye(4)).T
    # A^T y / noise = precision mean
    y = np.linalg.solve(weights.T, NOISE * precision @ mean)
    real = jnp.result_type(float)
    space = Space((Variable("mu", (2,)), Variable("sigma", (2,), positive())))
    prior = LinearPrior(jnp.asarray(weights[:, None], real))
    arrays = (jnp.asarray(a, real) for a in (y, mean, tril))
    return SitedGaussian(space, prior, *arrays, hole)
