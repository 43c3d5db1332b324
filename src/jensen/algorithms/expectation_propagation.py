"""Expectation propagation and assumed density filtering in the sites of a latent Gaussian model."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.algorithms._sites import SiteRule, apply, slopes
from jensen.core import Marginals, Scalar, Sites, require, scalar_field


def cavity(
    sites: Sites, mean: Float[Array, "n k"], cov: Float[Array, "n k k"], power: Scalar
) -> tuple[Float[Array, "n k"], Float[Array, "n k k"]]:
    """Moments of q(f_i) / t_i^a, a the power: V = (I - a S P)^-1 S, V (S^-1 m - a l) = (I - a S P)^-1 (m - a S l)."""
    less = jnp.eye(mean.shape[1], dtype=mean.dtype) - power * cov @ sites.precision
    left = jnp.linalg.solve(less, cov)
    return (
        jnp.linalg.solve(less, (mean - power * apply(cov, sites.linear))[..., None])[..., 0],
        0.5 * (left + jnp.swapaxes(left, 1, 2)),
    )


def matched(slope: Any, hessian: Any, mean: Any, cov: Any, power: Scalar) -> Sites:
    """Sites that give the tilted moments m + V g and V + V H V, from the derivatives of its log normaliser in m.

    P = -(I + H V)^-1 H / power, l = (I + H V)^-1 (g - H m) / power.
    """
    plus = jnp.eye(mean.shape[1], dtype=mean.dtype) + hessian @ cov
    precision = -jnp.linalg.solve(plus, hessian) / power
    linear = jnp.linalg.solve(plus, (slope - apply(hessian, mean))[..., None])[..., 0] / power
    return Sites(linear, 0.5 * (precision + jnp.swapaxes(precision, 1, 2)))


def log_mean_site(sites: Sites, mean: Any, cov: Any, power: Scalar) -> Float[Array, " n"]:
    """log E[t_i^power] under the cavity N(m, V), in nats."""
    b, precision = power * sites.linear, power * sites.precision
    plus = jnp.eye(mean.shape[1], dtype=mean.dtype) + cov @ precision
    pull = b - apply(precision, mean)
    gain = jnp.sum(pull * jnp.linalg.solve(plus, apply(cov, pull)[..., None])[..., 0], -1)
    inner = jnp.sum(b * mean, -1) - 0.5 * jnp.sum(mean * apply(precision, mean), -1)
    return inner + 0.5 * gain - 0.5 * jnp.linalg.slogdet(plus)[1]


def _positive(matrices: Float[Array, "n k k"]) -> Array:
    # the smallest eigenvalue of a small symmetric matrix; for k = 1 the number itself
    if matrices.shape[-1] == 1:
        return matrices[:, 0, 0] > 0
    return jnp.linalg.eigvalsh(matrices)[:, 0] > 0


class Propagation(SiteRule):
    """What parallel and sequential expectation propagation share: the evidence, and how a site is matched."""

    descends: ClassVar[bool] = False
    power: eqx.AbstractVar[Scalar]

    def update(self, sites: Sites, mean: Any, cov: Any, residual: Any, tilted: Any) -> Sites:
        """The matched sites at marginals (mean, cov) of the projection; the old one where a cavity is not proper."""
        at, spread = cavity(sites, mean, cov, self.power)
        proper = _positive(spread)
        at, spread = jnp.where(proper[:, None], at, mean), jnp.where(proper[:, None, None], spread, cov)
        slope, hessian = slopes(lambda m: tilted(m, spread + residual, self.power), at)
        new = matched(slope, hessian, at, spread, self.power)
        fine = proper & jnp.all(jnp.isfinite(new.linear), 1) & jnp.all(jnp.isfinite(new.precision), (1, 2))
        return Sites(
            jnp.where(fine[:, None], new.linear, sites.linear),
            jnp.where(fine[:, None, None], new.precision, sites.precision),
        )

    def log_evidence(self, sites: Sites, marginals: Marginals, target: Any) -> Float[Array, ""]:
        inner = marginals.cov - marginals.residual
        mean, cov = cavity(sites, marginals.mean, inner, self.power)
        tilted = target.log_tilted(mean, cov + marginals.residual, self.power)
        return marginals.log_normaliser + jnp.sum(tilted - log_mean_site(sites, mean, cov, self.power)) / self.power

    def objective(self, sites: Sites, marginals: Marginals, target: Any) -> Float[Array, ""]:
        return jnp.zeros((), marginals.mean.dtype)


class EP(Propagation):
    """Expectation propagation, all sites at once, damped: match the moments of cavity times p(y_i | f_i)^power.

    The cavity is q / t_i^power; the new site is the quotient of the moment-matched Gaussian and the cavity, to the
    power 1 / power, and the sites move a share `rate` of the way. power = 1 is EP, power -> 0 the fixed points of VI
    (`CVI`). With an inducing-point prior the sites act on the projection and the tilted moments see the residual.

    log p(y) = log Z + sum_i [log Z_i - log E_cavity t_i^power] / power, Z_i the tilted normaliser: no bound, and
    usually the closest of the three rules. There is no objective that must fall; a run ends when the marginals stand
    still.

    Raises `InputError` for a power outside (0, 1] or a rate outside (0, 1].

    Source: Minka (2001); power EP: Minka (2004); sparse: Bui, Yan and Turner (2017).
    """

    power: Scalar = scalar_field(1.0)
    rate: Scalar = scalar_field(0.7)
    tolerance: Scalar = scalar_field(1e-6)

    def __check_init__(self):
        _check_share(self.power, "power")
        _check_share(self.rate, "rate")

    def proposal(self, sites: Sites, marginals: Marginals, target: Any) -> Sites:
        inner = marginals.cov - marginals.residual
        return self.update(sites, marginals.mean, inner, marginals.residual, target.log_tilted)


def _check_share(value: Any, name: str) -> None:
    if not isinstance(value, jax.core.Tracer):
        require(bool(jnp.all((value > 0) & (value <= 1))), f"EP.{name} must lie in (0, 1], got {value}")
