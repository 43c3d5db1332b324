"""Inducing variables in two orthogonal groups: features of any kind, and ordinary values of what these leave."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import GaussianPrior, Marginals, Sites
from jensen.gp._linalg import cholesky, solve_lower, solve_upper
from jensen.gp.kernels._fields import as_real
from jensen.gp.kernels.stationary import as_rows
from jensen.gp.priors._white import Mean, zero_mean
from jensen.gp.priors.inducing import Features, Points


class Joined(Features):
    """u and v together: any `features`, and the values v = f(z) at ordinary inducing points z."""

    features: Features
    z: Float[Array, "k d"] = eqx.field(converter=lambda z: as_rows(as_real(z)))

    def covariance(self, kernel: Any) -> Float[Array, "m m"]:
        across = self.features.cross(kernel, self.z)
        return jnp.block([[self.features.covariance(kernel), across], [across.T, kernel(self.z, self.z)]])

    def cross(self, kernel: Any, x: Float[Array, "n d"]) -> Float[Array, "m n"]:
        return jnp.concatenate([self.features.cross(kernel, x), kernel(self.z, x)])


class OrthogonallyDecoupled(GaussianPrior):
    """f = Kfu Kuu^-1 u + Cfv Cvv^-1 v + rest, with u any features, v = f(z) - E[f(z) | u], and q(u, v) = q(u) q(v).

    C.. = K.. - K.u Kuu^-1 Ku. is what u leaves; u and v are independent under the prior. Given sites, q is the best
    product: precisions I + A^T P A of u and of v apart, means from the joint system. Cost
    O(N (M^2 + K^2 + M K) + M^3 + K^3), less than M + K points of one group take; the bound lies between that of u alone
    and that of `Joined(features, z)`, and does not reach the latter, for a product cannot carry what couples u and v.

    `log_normaliser` is the bound E_q[log t] - KL(q || prior), so that `CVI`'s is a bound on the exact evidence.
    `features`: `Features`, or inducing points; `z`: the second group's points.

    Source: Shi, Titsias and Mnih (2020), Sparse orthogonal variational inference for Gaussian processes; with spherical
    features: Tiao, Dutordoir and Picheny (2023).
    """

    kernel: Any
    x: Float[Array, "n d"]
    features: Features
    z: Float[Array, "k d"]
    mean: Mean = eqx.field(static=True, default=zero_mean)

    def __init__(self, kernel: Any, x: Any, features: Any, z: Any, mean: Mean = zero_mean):
        self.kernel, self.mean = kernel, mean
        self.x, self.z = as_rows(as_real(x)), as_rows(as_real(z))
        self.features = features if isinstance(features, Features) else Points(features)

    @property
    def num_sites(self) -> int:
        return self.x.shape[0]

    @property
    def dimension(self) -> int:
        return eqx.filter_eval_shape(self.halves, self.x)[0].shape[0] + self.z.shape[0]

    def halves(self, x: Float[Array, "n d"]) -> tuple[Float[Array, "m n"], Float[Array, "k n"], Float[Array, " n"]]:
        """L_u^-1 Kuf and L_v^-1 Cvf, with Kuu = L_u L_u^T and Cvv = L_v L_v^T; the variance of the rest."""
        root = cholesky(self.features.covariance(self.kernel))
        first = solve_lower(root, self.features.cross(self.kernel, x))
        between = solve_lower(root, self.features.cross(self.kernel, self.z))
        left = cholesky(self.kernel(self.z, self.z) - between.T @ between)
        second = solve_lower(left, self.kernel(self.z, x) - between.T @ first)
        rest = self.kernel(x) - jnp.sum(first**2, 0) - jnp.sum(second**2, 0)
        return first, second, jnp.maximum(rest, 0.0)

    def posterior(self, sites: Sites) -> tuple[Array, Array, Array, Array]:
        """Means of the white u and v under q, and Cholesky factors of their precisions."""
        first, second, _ = self.halves(self.x)
        weight = sites.precision[:, 0, 0]
        linear = sites.linear[:, 0] - weight * self.mean(self.x)
        inner = jnp.eye(first.shape[0], dtype=first.dtype) + (first * weight) @ first.T
        outer = jnp.eye(second.shape[0], dtype=first.dtype) + (second * weight) @ second.T
        root_u, root_v = jnp.linalg.cholesky(inner), jnp.linalg.cholesky(outer)
        # by Schur's complement: [inner, across; across^T, outer] (u, v) = (first linear, second linear)
        half = solve_lower(root_v, (second * weight) @ first.T)
        right = solve_lower(root_v, second @ linear)
        u = jnp.linalg.solve(inner - half.T @ half, first @ linear - half.T @ right)
        return u, solve_upper(root_v, right - half @ u), root_u, root_v

    def moments(self, q: tuple[Array, Array, Array, Array], x: Float[Array, "n d"]) -> tuple[Array, Array, Array]:
        """Mean, variance without the rest, and the rest, of f at inputs."""
        (u, v, root_u, root_v), (first, second, rest) = q, self.halves(x)
        spread = jnp.sum(solve_lower(root_u, first) ** 2, 0) + jnp.sum(solve_lower(root_v, second) ** 2, 0)
        return self.mean(x) + first.T @ u + second.T @ v, spread, rest

    def condition(self, sites: Sites) -> Marginals:
        q = self.posterior(sites)
        mean, spread, rest = (a[:, None] for a in self.moments(q, self.x))
        divergence = sum(_divergence(*part) for part in ((q[0], q[2]), (q[1], q[3])))
        bound = jnp.sum(sites.expected_log(mean, spread[..., None])) - divergence
        return Marginals(mean, (spread + rest)[..., None], rest[..., None], bound)

    def predict(self, sites: Sites, x: Any) -> tuple[Float[Array, "m k"], Float[Array, "m k k"]]:
        mean, spread, rest = self.moments(self.posterior(sites), as_rows(as_real(x)))
        return mean[:, None], (spread + rest)[:, None, None]

    def from_white(self, z: Float[Array, " d"]) -> tuple[Float[Array, "n k"], Float[Array, "n k k"]]:
        first, second, rest = self.halves(self.x)
        f = self.mean(self.x) + first.T @ z[: first.shape[0]] + second.T @ z[first.shape[0] :]
        return f[:, None], rest[:, None, None]


def _divergence(mean: Float[Array, " m"], root: Float[Array, "m m"]) -> Float[Array, ""]:
    """KL(N(mean, (root root^T)^-1) || N(0, I))."""
    inverse = solve_lower(root, jnp.eye(len(mean), dtype=mean.dtype))
    return 0.5 * (jnp.sum(inverse**2) + mean @ mean - len(mean)) + jnp.sum(jnp.log(jnp.diagonal(root)))
