"""A Gaussian over the white coordinates of a prior, from which latent values are predicted."""

from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, Float

from jensen.core import Compiled, Density, GaussianPrior, InputError, PRNGKey
from jensen.families.gaussian import Gaussian


class WhiteGaussian(Density):
    """q(z) = N(z; m, L L^T) over the white coordinates of `prior`, f = centre + A z + residual.

    For inducing points this is a free q(u), u = L_uu z. `predict(x)` gives moments of the latent values at new inputs;
    it is there for priors with inducing variables, and costs no more for more rows.
    """

    prior: GaussianPrior
    white: Gaussian

    @property
    def dimension(self) -> int:
        return self.white.dimension

    @Compiled
    def predict(self, x: Any) -> tuple[Float[Array, "m k"], Float[Array, "m k k"]]:
        """Means and covariances of the latent values at new inputs. Raises `MissingCapability` for other priors."""
        return self.prior.predict_white(self.white.mean, self.white.scale_tril, x)

    def sample(self, key: PRNGKey) -> Float[Array, " d"]:
        return self.white.sample(key)

    def log_prob(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        return self.white.log_prob(z)

    def sample_and_log_prob(self, key: PRNGKey) -> tuple[Float[Array, " d"], Float[Array, ""]]:
        return self.white.sample_and_log_prob(key)

    def mean_and_cov(self) -> tuple[Float[Array, " d"], Float[Array, "d d"]]:
        """Of z."""
        return self.white.mean_and_cov()

    def partition(self) -> tuple["WhiteGaussian", "WhiteGaussian"]:
        """The Gaussian trains; the prior does not."""
        frozen = jax.tree.map(lambda _: False, self)
        return eqx.partition(self, eqx.tree_at(lambda q: q.white, frozen, jax.tree.map(lambda _: True, self.white)))

    def stored(self) -> Gaussian:
        """What is saved: the Gaussian, for the prior's kernel and inputs belong to the model."""
        return self.white

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "WhiteGaussian":
        raise InputError("A WhiteGaussian is saved as the Gaussian of its white coordinates")
