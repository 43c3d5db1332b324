"""Clusters of curves: a mixture of multi-task Gaussian processes with common mean processes, on irregular grids."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jensen.core import InputError, Scalar, require, scalar_field
from jensen.gp._linalg import LOG_2PI, cholesky, solve_lower
from jensen.gp.kernels.stationary import as_rows


class Curves(eqx.Module):
    """M curves on the grid of all their inputs. Made by `pool_curves`.

    `grid`: (g, d). `values`: (M, g), 0 where a curve is not observed. `observed`: (M, g), 1 or 0.
    """

    grid: Float[Array, "g d"]
    values: Float[Array, "M g"]
    observed: Float[Array, "M g"]


class CurveClusters(eqx.Module):
    """y_i(t) = mu_{Z_i}(t) + f_i(t) + e: mu_k ~ GP(0, `mean_kernel`), f_i ~ GP(0, `task_kernel`), e ~ N(0, `noise`).

    P(Z_i = k) = pi_k. Curves of a cluster share its mean process, and what is known of it from all of them sharpens the
    prediction of each. The hyperparameters are shared by clusters and curves: train them by
    `EvidenceTarget(curve_bound, model, curves, tau)` and `Mode`, in turn with `cluster_curves`. The prior mean is 0:
    centre the values.

    Source: Leroy, Latouche, Guedj and Gey (2023), Cluster-specific predictions with multi-task Gaussian processes.
    """

    mean_kernel: Any
    task_kernel: Any
    noise: Scalar = scalar_field(0.1)


class MeanProcesses(eqx.Module):
    """q(mu_k) = N(`mean`_k, `cov`_k) on the grid, (K, g) and (K, g, g), and `divergence` KL(q || p) of each, (K,)."""

    mean: Float[Array, "K g"]
    cov: Float[Array, "K g g"]
    divergence: Float[Array, " K"]


class Clustering(eqx.Module):
    """What `cluster_curves` gives: `tau` = q(Z_i = k), (M, K), `weights` pi, `processes`, and the bound a step."""

    tau: Float[Array, "M K"]
    weights: Float[Array, " K"]
    processes: MeanProcesses
    history: Float[Array, " steps"]


class CurvePrediction(eqx.Module):
    """p(y(grid) | what a new curve shows) = sum_k tau_k N(mean_k, cov_k), noise included."""

    tau: Float[Array, " K"]
    means: Float[Array, "K g"]
    covs: Float[Array, "K g g"]

    @property
    def mean(self) -> Float[Array, " g"]:
        """Mean of the mixture."""
        return self.tau @ self.means

    @property
    def variance(self) -> Float[Array, " g"]:
        """Marginal variances of the mixture."""
        second = jnp.diagonal(self.covs, axis1=1, axis2=2) + self.means**2
        return self.tau @ second - self.mean**2


def pool_curves(curves: Sequence[tuple[Any, Any]], also: Any = None) -> Curves:
    """Curves (t_i, y_i), t_i of shape (n_i,) or (n_i, d), on the grid of all distinct inputs, and of inputs in `also`.

    Raises `InputError` for no curve, values that are not finite, lengths that differ, or an input twice in one curve.
    """
    require(len(curves) > 0, "No curve was given", InputError)
    inputs, outputs = [], []
    for i, (t, y) in enumerate(curves):
        t, y = np.asarray(t, float), np.asarray(y, float)
        t = t[:, None] if t.ndim == 1 else t
        require(
            t.ndim == 2 and y.shape == (len(t),), f"Curve {i} has inputs {t.shape} and values {y.shape}", InputError
        )
        finite = bool(np.all(np.isfinite(t)) and np.all(np.isfinite(y)))
        require(finite, f"Curve {i} has a value that is NaN or infinite: leave it out", InputError)
        require(len(np.unique(t, axis=0)) == len(t), f"Curve {i} has an input twice: take the mean of both", InputError)
        inputs.append(t)
        outputs.append(y)
    wide = {t.shape[1] for t in inputs}
    require(len(wide) == 1, f"Inputs of all curves must be of one dimension, got {sorted(wide)}", InputError)
    extra = [] if also is None else [np.asarray(also, float).reshape(-1, inputs[0].shape[1])]
    grid, places = np.unique(np.concatenate([*inputs, *extra]), axis=0, return_inverse=True)
    places = places.reshape(-1)
    values, observed = np.zeros((len(curves), len(grid))), np.zeros((len(curves), len(grid)))
    start = 0
    for i, y in enumerate(outputs):
        at = places[start : start + len(y)]
        values[i, at], observed[i, at] = y, 1.0
        start += len(y)
    real = jnp.result_type(float)
    return Curves(*(jnp.asarray(a, real) for a in (grid, values, observed)))


def mean_processes(model: CurveClusters, curves: Curves, tau: Float[Array, "M K"]) -> MeanProcesses:
    """The best q(mu_k) given tau: precision C^-1 + sum_i tau_ik P_i, P_i the precision of curve i's own part.

    P_i = J_i^T (S + noise I)^-1 J_i on the rows that are observed, 0 elsewhere. In white coordinates mu = L w,
    C = L L^T, so that C is never inverted. O(M g^3).
    """
    return _mean_processes(_parts(model, curves), tau)


def expected_log_likelihood(model: CurveClusters, curves: Curves, q: MeanProcesses) -> Float[Array, "M K"]:
    """E_q[log p(y_i | mu_k)], in nats."""
    return _expected(_parts(model, curves), curves, q)


def bound_of(
    model: CurveClusters, curves: Curves, tau: Float[Array, "M K"], weights: Float[Array, " K"], q: MeanProcesses
) -> Float[Array, ""]:
    """Lower bound on log p(y), in nats: sum tau (E log p(y_i | mu_k) + log pi_k - log tau) - sum_k KL(q_k || p)."""
    return _bound(expected_log_likelihood(model, curves, q), tau, weights, q)


def curve_bound(model: CurveClusters, curves: Curves, tau: Float[Array, "M K"]) -> Float[Array, ""]:
    """The bound at the best q(mu) and pi given tau: what hyperparameters are trained by."""
    parts = _parts(model, curves)
    q = _mean_processes(parts, tau)
    return _bound(_expected(parts, curves, q), tau, jnp.mean(tau, axis=0), q)


def assignments(
    model: CurveClusters, curves: Curves, weights: Float[Array, " K"], q: MeanProcesses
) -> Float[Array, "M K"]:
    """The best tau given q(mu) and pi: proportional to pi_k exp(E_q[log p(y_i | mu_k)])."""
    return jax.nn.softmax(expected_log_likelihood(model, curves, q) + jnp.log(weights), axis=1)


@eqx.filter_jit
def cluster_curves(model: CurveClusters, curves: Curves, tau: Float[Array, "M K"], steps: int = 30) -> Clustering:
    """Coordinate ascent on the bound from assignments `tau`: q(mu), then pi, then tau, `steps` times.

    Every part is exact, so that the bound never falls; it has local optima, so begin at assignments of k-means on
    features of the curves, and try several. One cluster (tau = 1) gives exact inference of a multi-task process.
    """
    parts = _parts(model, curves)

    def step(tau: Array, _: None) -> tuple[Array, Array]:
        q, weights = _mean_processes(parts, tau), jnp.mean(tau, axis=0)
        fit = _expected(parts, curves, q)
        return jax.nn.softmax(fit + jnp.log(weights), axis=1), _bound(fit, tau, weights, q)

    tau, history = jax.lax.scan(step, tau, None, length=steps)
    return Clustering(tau, jnp.mean(tau, axis=0), _mean_processes(parts, tau), history)


@eqx.filter_jit
def predict_curve(
    model: CurveClusters,
    grid: Float[Array, "g d"],
    clustering: Clustering,
    values: Float[Array, " g"],
    observed: Float[Array, " g"],
) -> CurvePrediction:
    """The whole of a new curve, of which the grid's rows with `observed` = 1 are seen, as a mixture over clusters.

    In cluster k the curve is N(mean_k, cov_k + S + noise I), the uncertainty of the mean process included, conditioned
    on what is seen; its weight is pi_k times the density of that.
    """
    own = model.task_kernel(as_rows(grid), as_rows(grid)) + model.noise * jnp.eye(len(values), dtype=values.dtype)

    def one(mean: Array, cov: Array) -> tuple[Array, Array, Array]:
        joint = cov + own
        seen = joint * observed[:, None] * observed + jnp.diag(1 - observed)
        tril = cholesky(seen)
        half = solve_lower(tril, joint * observed[:, None])
        white = solve_lower(tril, (values - mean) * observed)
        log_det = jnp.sum(jnp.log(jnp.diagonal(tril)))
        fit = -0.5 * jnp.sum(white**2) - log_det - 0.5 * jnp.sum(observed) * LOG_2PI
        return fit, mean + half.T @ white, joint - half.T @ half

    fits, means, covs = jax.vmap(one)(clustering.processes.mean, clustering.processes.cov)
    return CurvePrediction(jax.nn.softmax(fits + jnp.log(clustering.weights)), means, covs)


class _Parts(eqx.Module):
    """What does not depend on assignments: the factor of C, and of each curve P_i, P_i y_i and the log determinant."""

    tril: Float[Array, "g g"]
    precisions: Float[Array, "M g g"]
    pulls: Float[Array, "M g"]
    log_dets: Float[Array, " M"]


def _parts(model: CurveClusters, curves: Curves) -> _Parts:
    own = model.task_kernel(curves.grid, curves.grid)

    def one(observed: Array, values: Array) -> tuple[Array, Array, Array]:
        # the identity stands where nothing is observed
        noisy = own * observed[:, None] * observed + jnp.diag(model.noise * observed + 1 - observed)
        tril = jnp.linalg.cholesky(noisy)
        inverse = solve_lower(tril, jnp.diag(observed))
        return inverse.T @ inverse, inverse.T @ (inverse @ values), 2 * jnp.sum(jnp.log(jnp.diagonal(tril)))

    return _Parts(cholesky(model.mean_kernel(curves.grid, curves.grid)), *jax.vmap(one)(curves.observed, curves.values))


def _mean_processes(parts: _Parts, tau: Float[Array, "M K"]) -> MeanProcesses:
    tril, n = parts.tril, parts.tril.shape[0]
    total = jnp.einsum("ik,iab->kab", tau, parts.precisions)
    spread = jnp.linalg.cholesky(jnp.eye(n, dtype=tril.dtype) + tril.T @ total @ tril)

    def one(spread: Array, pull: Array) -> tuple[Array, Array, Array]:
        half, inverse = solve_lower(spread, tril.T), solve_lower(spread, jnp.eye(n, dtype=spread.dtype))
        white = solve_lower(spread, tril.T @ pull)
        log_det = 2 * jnp.sum(jnp.log(jnp.diagonal(spread)))
        divergence = 0.5 * (jnp.sum(inverse**2) + jnp.sum((inverse.T @ white) ** 2) - n + log_det)
        return half.T @ white, half.T @ half, divergence

    return MeanProcesses(*jax.vmap(one)(spread, tau.T @ parts.pulls))


def _expected(parts: _Parts, curves: Curves, q: MeanProcesses) -> Float[Array, "M K"]:
    away = curves.values[:, None] - q.mean
    square = jnp.einsum("ika,ika->ik", away, jnp.einsum("iab,ikb->ika", parts.precisions, away))
    loose = jnp.einsum("iab,kab->ik", parts.precisions, q.cov)
    constant = parts.log_dets + jnp.sum(curves.observed, axis=1) * LOG_2PI
    return -0.5 * (square + loose + constant[:, None])


def _bound(
    fit: Float[Array, "M K"], tau: Float[Array, "M K"], weights: Float[Array, " K"], q: MeanProcesses
) -> Float[Array, ""]:
    some = tau > 0
    terms = tau * (fit + jnp.log(weights) - jnp.log(jnp.where(some, tau, 1.0)))
    return jnp.sum(jnp.where(some, terms, 0.0)) - jnp.sum(q.divergence)
