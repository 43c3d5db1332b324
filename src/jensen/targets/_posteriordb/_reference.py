"""Reference draws of posteriordb, and draws of ours in posteriordb's order."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Array, Float

from jensen.core import InputError
from jensen.targets._posteriordb import _data
from jensen.targets._posteriordb._catalogue import REFERENCES, resolve


@dataclass(frozen=True)
class Reference:
    """Reference draws of a posterior, 10 chains of 1000, thinned by posteriordb until all but independent.

    - `parameters`: d flat names in posteriordb's order, `theta[1]` ... counted from one.
    - `flat`: (10, 1000, d), their values, stored in single precision.
    - `draws`: the same by site, chains joined: `draws["theta"]` has shape (10000, ...).
    - `latents`: draws of the latent sites of our model, with which `Space.unconstrain` can be fed; they differ from
      `draws` where the model is non-centred.
    - `mean`, `sd`, `effective_sample_size`: (d,), from the draws at full precision.
    """

    name: str
    parameters: tuple[str, ...]
    flat: Float[np.ndarray, "chain draw d"] = field(repr=False)
    draws: dict[str, np.ndarray] = field(repr=False)
    latents: dict[str, np.ndarray] = field(repr=False)
    mean: Float[np.ndarray, " d"] = field(repr=False)
    sd: Float[np.ndarray, " d"] = field(repr=False)
    effective_sample_size: Float[np.ndarray, " d"] = field(repr=False)


def reference(name: str) -> Reference:
    """The reference draws of the posterior `name` (or one of posteriordb's short names).

    The centred eight schools share the draws of the non-centred ones.
    Raises `UnknownName`, or `DatasetError` where the data are not below $JENSEN_DATA or are damaged.
    """
    full, data, entry = resolve(name)
    source = REFERENCES.get(full, full)
    summary = _data.reference_summary(source)
    parameters, flat = tuple(summary["parameters"]), _data.reference_draws(source)
    rows = flat.reshape(-1, flat.shape[-1])
    draws = {site: _gather(rows, columns) for site, columns in _columns(parameters).items()}
    latents = draws if entry.latents is None else entry.load(entry.latents)(draws, _data.data_set(data))
    moments = (np.asarray(summary[key]) for key in ("mean", "sd", "ess_bulk"))
    return Reference(full, parameters, flat, draws, latents, *moments)


def flatten(name: str, draws: Mapping[str, Array | np.ndarray]) -> Float[np.ndarray, "n d"]:
    """Draws by site, each with leading axis n, as columns in posteriordb's order: those of `reference(name).flat`.

    Raises `UnknownName`, or `InputError` for a site that is missing or has a wrong shape.
    """
    full, _, _ = resolve(name)
    parts = []
    for site, columns in _columns(tuple(_data.reference_summary(REFERENCES.get(full, full))["parameters"])).items():
        if site not in draws:
            raise InputError(
                f"Draws of {full} lack the site {site!r}: they hold {', '.join(map(repr, draws)) or 'none'}"
            )
        value = np.asarray(draws[site])
        wanted = () if columns is None or isinstance(columns, int) else (len(columns),)
        if value.ndim == 0 or value.shape[1:] != wanted:
            raise InputError(f"Draws of {site!r} must have shape {('n', *wanted)}, got {value.shape}")
        parts.append(value.reshape(len(value), -1))
    if len({len(part) for part in parts}) > 1:
        raise InputError(f"Sites of {full} have different numbers of draws: {[len(part) for part in parts]}")
    return np.concatenate(parts, axis=1)


def _columns(parameters: tuple[str, ...]) -> dict[str, int | list[int]]:
    """Where each site stands among the flat names: a column for a scalar, a list of columns for a vector."""
    scalars, vectors = {}, {}
    for i, parameter in enumerate(parameters):
        site, bracket, _ = parameter.partition("[")
        if bracket:
            vectors.setdefault(site, []).append(i)
        else:
            scalars[site] = i
    sites = dict.fromkeys(parameter.partition("[")[0] for parameter in parameters)
    return {site: vectors[site] if site in vectors else scalars[site] for site in sites}


def _gather(rows: Float[np.ndarray, "n d"], columns: int | list[int]) -> np.ndarray:
    return rows[:, columns]
