"""Predictions of Gaussian-process regression: its programs, and mixtures over draws of the hyperparameters."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from jensen.core import Compiled
from jensen.gp._estimator import MIDDLE, pad, padded
from jensen.gp.exact import GaussianRegression

AT_ONCE = 16_384  # rows to predict, so that memory does not grow with their number


def conditioned(tree: Any, model: GaussianRegression) -> Any:
    """What predicts, given the model's data and the hyperparameters of the tree."""
    return _conditioned.at(MIDDLE)(tree, model)


@Compiled
def _conditioned(tree: Any, model: GaussianRegression) -> Any:
    return model.at(tree).conditioned()


@Compiled
def _predict(given: Any, x: Any) -> Any:
    return given.predict(x)


@eqx.filter_jit
def joint(given: Any, x: Any) -> Any:
    """Mean and covariance of f at x."""
    return given.joint(x)


def at_once(given: Any, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means and variances of f at x: some rows at a time where they do not depend on one another."""
    size = AT_ONCE if given.pointwise else len(x)
    parts = []
    for rows in (x[i : i + size] for i in range(0, len(x), size)):
        mean, variance = _predict.at(MIDDLE)(given, jnp.asarray(pad(rows, padded(len(rows)))))
        parts.append((np.asarray(mean)[: len(rows)], np.asarray(variance)[: len(rows)]))
    means, variances = zip(*parts, strict=True)
    return np.concatenate(means), np.concatenate(variances)


def normal(rng: Any, mean: np.ndarray, cov: np.ndarray, n: int) -> np.ndarray:
    """Draws (m, n) of N(mean, cov), cov semidefinite up to rounding."""
    values, vectors = np.linalg.eigh(0.5 * (cov + cov.T))
    return mean[:, None] + (vectors * np.sqrt(np.maximum(values, 0))) @ rng.standard_normal((len(mean), n))


def mixed(parts: list[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Moments of a mixture with equal weights: means, and variances (m,) or covariances (m, m)."""
    means = np.stack([np.asarray(m) for m, _ in parts])
    spread = np.mean([np.asarray(v) for _, v in parts], 0)
    away = means - means.mean(0)
    between = np.mean(away**2, 0) if spread.ndim == 1 else away.T @ away / len(parts)
    return means.mean(0), spread + between
