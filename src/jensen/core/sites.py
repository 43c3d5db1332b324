"""Sites: a Gaussian factor for each likelihood term, and the priors that can be conditioned on them.

A latent Gaussian model p(y, f) = N(f; m, K) prod_i p(y_i | f_i) has a posterior that is *a prior plus sites*: q(f) =
N(f; m, K) prod_i t_i(f_i) / Z, t_i(f_i) = exp(l_i . f_i - f_i^T P_i f_i / 2). How the natural parameters (l_i, P_i) are
chosen is an algorithm's matter (`CVI`, `EP`, `ADF`, `SiteLaplace`), how the prior is held another one's.
"""

import abc
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from typing_extensions import Protocol, runtime_checkable

from jensen.core.fields import Scalar


class Sites(eqx.Module):
    """Natural parameters of n Gaussian factors, each on the k latent values f_i that its likelihood term sees.

    t_i(f_i) = exp(linear_i . f_i - f_i^T precision_i f_i / 2). A precision may be indefinite (likelihoods that are not
    log-concave); together with the prior they must make a positive definite posterior precision.
    """

    linear: Float[Array, "n k"]
    precision: Float[Array, "n k k"]

    def expected_log(self, mean: Float[Array, "n k"], cov: Float[Array, "n k k"]) -> Float[Array, " n"]:
        """E[log t_i(f_i)] for f_i ~ N(mean_i, cov_i), in nats."""
        second = cov + mean[:, :, None] * mean[:, None, :]
        return jnp.sum(self.linear * mean, -1) - 0.5 * jnp.sum(self.precision * second, (-2, -1))

    def moved(self, other: "Sites", rate: Scalar) -> "Sites":
        """(1 - rate) these + rate `other`: a damped step in natural parameters."""
        return Sites(
            self.linear + rate * (other.linear - self.linear),
            self.precision + rate * (other.precision - self.precision),
        )


def no_sites(n: int, k: int = 1) -> Sites:
    """Sites that say nothing: q is the prior."""
    real = jnp.result_type(float)
    return Sites(jnp.zeros((n, k), real), jnp.zeros((n, k, k), real))


class Marginals(eqx.Module):
    """What conditioning a prior on sites gives, at each site.

    `mean`, `cov`: moments of f_i under q. `residual`: the part of `cov` that the sites do not act on, k(x_i, x_i) -
    Q_ii of an inducing-point prior (sites then act on the projection E[f_i | u], whose covariance is cov - residual);
    zero elsewhere. `log_normaliser`: log of the integral of prior times sites.
    """

    mean: Float[Array, "n k"]
    cov: Float[Array, "n k k"]
    residual: Float[Array, "n k k"]
    log_normaliser: Float[Array, ""]


class GaussianPrior(eqx.Module):
    """A Gaussian prior of latent values f, k of them at each of n sites, that can be conditioned on `Sites`.

    Implementations differ in how they hold the covariance (dense, inducing points, a sparse inverse Cholesky factor, a
    state-space model, a grid) and agree, where they are exact, to rounding.
    """

    @property
    @abc.abstractmethod
    def num_sites(self) -> int:
        """n."""

    @property
    def num_values(self) -> int:
        """k, latent values that a site sees."""
        return 1

    @property
    @abc.abstractmethod
    def dimension(self) -> int:
        """Length of the white coordinates z ~ N(0, I) that `from_white` takes."""

    @abc.abstractmethod
    def condition(self, sites: Sites) -> Marginals:
        """Marginals of q = prior times sites, normalised."""

    @abc.abstractmethod
    def predict(self, sites: Sites, x: Any) -> tuple[Float[Array, "m k"], Float[Array, "m k k"]]:
        """Means and covariances under q of the k latent values at each of m new inputs."""

    @abc.abstractmethod
    def from_white(self, z: Float[Array, " d"]) -> tuple[Float[Array, "n k"], Float[Array, "n k k"]]:
        """Mean and (residual) covariance of f at the sites given z; affine in z, the covariance free of z."""

    def restricted(self, rows: Int[Array, " b"]) -> "GaussianPrior":
        """The prior of these sites alone, in the same white coordinates; for priors whose sites see no other's value.

        Raises `MissingCapability` for the others.
        """
        from jensen.core.errors import MissingCapability

        raise MissingCapability(
            f"The sites of {type(self).__name__} cannot be seen a few at a time: take an inducing-point prior "
            "(jensen.gp.priors.Inducing)"
        )

    def predict_white(
        self, mean: Float[Array, " d"], root: Float[Array, "d r"], x: Any
    ) -> tuple[Float[Array, "m k"], Float[Array, "m k k"]]:
        """Means and covariances of the k latent values at new inputs for z ~ N(mean, root root^T).

        Raises `MissingCapability` for priors that have no design at new inputs.
        """
        from jensen.core.errors import MissingCapability

        raise MissingCapability(
            f"{type(self).__name__} predicts from sites, not from a Gaussian over its white coordinates: take an "
            "inducing-point prior (jensen.gp.priors.Inducing)"
        )


def divergence(sites: Sites, marginals: Marginals) -> Float[Array, ""]:
    """KL(q || prior) = sum_i E_q[log t_i] - log Z, in nats, for any prior."""
    inner = marginals.cov - marginals.residual
    return jnp.sum(sites.expected_log(marginals.mean, inner)) - marginals.log_normaliser


@runtime_checkable
class LatentGaussian(Protocol):
    """Offers a Gaussian prior and likelihood terms of few latent values each: p(y, f) = N(f; m, K) prod_i p(y_i | f_i).

    The methods give, a value for each of the n terms: `log_terms(f)` = log p(y_i | f_i); `expected(mean, cov)` = E[log
    p(y_i | f_i)], and `log_tilted(mean, cov, power)` = log E[p(y_i | f_i)^power], both for f_i ~ N(mean_i, cov_i).
    `terms(rows)` has these methods for the terms of these indices alone.
    """

    prior: GaussianPrior

    def log_terms(self, f: Float[Array, "n k"]) -> Float[Array, " n"]: ...

    def expected(self, mean: Float[Array, "n k"], cov: Float[Array, "n k k"]) -> Float[Array, " n"]: ...

    def log_tilted(
        self, mean: Float[Array, "n k"], cov: Float[Array, "n k k"], power: Scalar
    ) -> Float[Array, " n"]: ...

    def terms(self, rows: Int[Array, " b"]) -> Any: ...
