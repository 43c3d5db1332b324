"""The posterior of a latent Gaussian model as a family: a prior plus sites."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

from jensen.core import Compiled, Density, GaussianPrior, InputError, Marginals, PRNGKey, Sites
from jensen.families.gaussian import Gaussian

LARGEST = 5000  # white coordinates up to which the joint posterior is formed


class SiteGaussian(Density):
    """q(z) = N(z; 0, I) prod_i t_i(A_i z + m_i), Gaussian: a prior in its white coordinates z, conditioned on sites.

    `marginals()` and `predict(x)` cost what the prior's own algebra costs and are there at any size; draws and the
    joint density need the d x d precision I + sum_i A_i^T P_i A_i, and are refused above 5,000 coordinates.
    """

    prior: GaussianPrior
    sites: Sites

    @property
    def dimension(self) -> int:
        return self.prior.dimension

    @Compiled
    def marginals(self) -> Marginals:
        """Moments of the latent values at the sites."""
        return self.prior.condition(self.sites)

    @Compiled
    def predict(self, x: Any) -> tuple[Float[Array, "m k"], Float[Array, "m k k"]]:
        """Means and covariances of the latent values at new inputs."""
        return self.prior.predict(self.sites, x)

    def joint(self) -> Gaussian:
        """The same density as a `Gaussian` over z. Raises `InputError` above 5,000 coordinates."""
        d = self.dimension
        if d > LARGEST:
            raise InputError(
                f"The joint posterior of {d} white coordinates would need a {d} x {d} matrix: use `marginals()` and "
                "`predict(x)`, or a sparse prior (jensen.gp.priors.Inducing)"
            )
        zero = jnp.zeros(d, self.sites.linear.dtype)
        centre, _ = self.prior.from_white(zero)
        weights = jax.jacfwd(lambda z: self.prior.from_white(z)[0])(zero).reshape(-1, d)
        n, k = centre.shape
        pulled = jnp.einsum("nij,njd->nid", self.sites.precision, weights.reshape(n, k, d)).reshape(n * k, d)
        linear = self.sites.linear - jnp.einsum("nij,nj->ni", self.sites.precision, centre)
        tril = jnp.linalg.cholesky(jnp.eye(d, dtype=zero.dtype) + weights.T @ pulled)
        mean = jax.scipy.linalg.cho_solve((tril, True), weights.T @ linear.reshape(-1))
        root = solve_triangular(tril, jnp.eye(d, dtype=zero.dtype), lower=True, trans=1)
        triangle = jnp.linalg.qr(root.T, mode="r").T
        return Gaussian(mean, triangle * jnp.sign(jnp.diagonal(triangle)))

    def sample(self, key: PRNGKey) -> Float[Array, " d"]:
        return self.joint().sample(key)

    def log_prob(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        return self.joint().log_prob(z)

    def mean_and_cov(self) -> tuple[Float[Array, " d"], Float[Array, "d d"]]:
        """Of z."""
        return self.joint().mean_and_cov()

    def partition(self) -> tuple["SiteGaussian", "SiteGaussian"]:
        """The sites train; the prior does not."""
        frozen = jax.tree.map(lambda _: False, self)
        train = eqx.tree_at(lambda q: q.sites, frozen, jax.tree.map(lambda _: True, self.sites))
        return eqx.partition(self, train)

    def stored(self) -> Gaussian:
        """What is saved: the joint Gaussian, for the prior's kernel and inputs belong to the model."""
        return self.joint()

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "SiteGaussian":
        raise InputError("A SiteGaussian is saved as the Gaussian of its white coordinates")
