"""Posteriors as ArviZ `InferenceData`. ArviZ is imported inside: it takes longer than many a fit."""

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jensen.core.errors import InputError, StorageError
from jensen.core.files import cause
from jensen.core.posterior import DrawsPosterior, Posterior, constrain_many
from jensen.core.predictive import posterior_predictive
from jensen.core.random import POSTERIOR, PRNGKey, check_key, stream
from jensen.core.stored import StoredPosterior


def by_chain(posterior: Posterior, key: PRNGKey, num_draws: int) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """Values with leading axes (chain, draw), and which draws diverged.

    Chains of a sampler are kept as they are, all of them; any other posterior gives one chain of `num_draws` draws.
    """
    if isinstance(posterior, StoredPosterior):
        marks = None if posterior.diverging is None else np.asarray(posterior.diverging).reshape(posterior.chains, -1)
        return {name: np.asarray(value) for name, value in posterior.by_chain().items()}, marks
    if isinstance(posterior, DrawsPosterior):
        chains, n, _ = posterior.chains.shape
        values = constrain_many(posterior.space, posterior.pooled)
        lead = (1, chains * n) if posterior.independent else (chains, n)
        marks = None if posterior.diverging is None else np.asarray(posterior.diverging).reshape(lead)
        return {name: np.asarray(v).reshape(*lead, *v.shape[1:]) for name, v in values.items()}, marks
    draws = posterior.sample(key, num_draws)
    return {name: np.asarray(v)[None] for name, v in draws.items()}, None


def to_inference_data(posterior: Posterior, key: PRNGKey, num_draws: int, target: Any = None) -> Any:
    """`InferenceData` of a posterior; with a target also posterior_predictive and observed_data."""
    key_draws, key_predict = jax.random.split(check_key(key))
    replicated, observed = (
        ({}, {}) if target is None else posterior_predictive(posterior, target, key_predict, num_draws)
    )
    return _inference_data(posterior, key_draws, num_draws, replicated, observed, {})


def fit_to_inference_data(fit: Any, key: PRNGKey | None, num_draws: int) -> Any:
    """`InferenceData` of a fit; where no key is given, drawn with one derived from the seed that the fit records."""
    if key is None:
        seed = fit.info.get("seed")
        key = stream(jax.random.key(seed if isinstance(seed, int) else 0), POSTERIOR)
    labels = fit.info.get("labels")
    labels = labels if isinstance(labels, dict) else {}
    return _inference_data(fit.posterior, check_key(key), num_draws, fit.predictive, fit.observed, labels)


def _inference_data(
    posterior: Posterior,
    key: PRNGKey,
    num_draws: int,
    replicated: Mapping[str, np.ndarray],
    observed: Mapping[str, np.ndarray],
    labels: Mapping[str, Any],
) -> Any:
    if num_draws < 1:
        raise InputError(f"The number of draws must be at least 1, got {num_draws}")
    import arviz

    values, diverging = by_chain(posterior, key, num_draws)
    coords, dims = {}, {}
    for name, axes in labels.items():
        if name in values and [len(axis) for axis in axes] == list(values[name].shape[2:]):
            dims[name] = [f"{name} level {i}" for i in range(len(axes))]
            coords |= dict(zip(dims[name], ([str(label) for label in axis] for axis in axes), strict=True))
    groups: dict[str, Any] = {"posterior": _apart(values)}
    if replicated:
        groups["posterior_predictive"] = _apart({name: np.asarray(v)[None] for name, v in replicated.items()})
    if observed:
        groups["observed_data"] = _apart({name: np.asarray(v) for name, v in observed.items()})
    if diverging is not None:
        groups["sample_stats"] = {"diverging": diverging}
    attributes = {"inference_library": "jensen", "posterior_class": type(posterior).__name__}
    return arviz.from_dict(**groups, coords=coords, dims=dims, attrs=attributes)


def _apart(values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Names that are those of ArviZ's own axes get an underscore."""
    return {f"{name}_" if name in ("chain", "draw") else name: value for name, value in values.items()}


def write_netcdf(data: Any, path: str | Path) -> Path:
    """Write `InferenceData` as NetCDF, whole or not at all; slashes in names, which it forbids, become underscores.

    Raises `StorageError` if the file cannot be written.
    """
    path = Path(path)
    temporary = path.parent / f".{path.name}.{secrets.token_hex(6)}"  # no name that someone could put a link at
    named = data.map(
        lambda group: group.rename({n: n.replace("/", "_") for n in [*group.variables, *group.dims] if "/" in str(n)})
    )
    try:
        named.to_netcdf(str(temporary))
        temporary.replace(path)
    except OSError as error:
        raise StorageError(f"Cannot write {path}: {cause(error)}") from error
    finally:
        temporary.unlink(missing_ok=True)
    return path
