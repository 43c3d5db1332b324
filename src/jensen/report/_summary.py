"""Posterior summaries as rows of a table."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jensen.core import DrawsPosterior, Fit
from jensen.core._arviz import by_chain
from jensen.core.random import POSTERIOR, stream
from jensen.core.stored import StoredPosterior

NUM_DRAWS = 4000
LONG = 5  # entries beyond which an array is listed after the shorter sites
MAX_DIAGNOSED = 400  # columns whose chains are diagnosed: more would take longer than many a fit
_INTERNAL = ("_offset", "_centered", "_decentered", "_base", "_simplex")


@dataclasses.dataclass(frozen=True)
class Row:
    """One scalar: its site and label, moments, quantiles, and for chains the effective sample size and R-hat."""

    site: str
    label: str
    mean: float
    sd: float
    q05: float
    q50: float
    q95: float
    ess: float | None = None
    rhat: float | None = None

    @property
    def digits(self) -> int:
        """Decimals that the numbers deserve: two figures of the sd."""
        if not (self.sd > 0 and math.isfinite(self.sd)):
            return 3
        return max(0, 1 - math.floor(math.log10(self.sd)))

    def text(self, value: float) -> str:
        """`value` with those decimals, or in powers of ten where that would be long."""
        if not math.isfinite(value):
            return str(value)
        size = max(abs(self.mean), self.sd)
        return f"{value:.3g}" if self.digits > 5 or size >= 1e6 else f"{value:.{self.digits}f}"


def fit_key(fit: Fit) -> Any:
    """The key that draws for tables and figures are made with: from the seed that the fit records."""
    seed = fit.info.get("seed")
    return stream(jax.random.key(seed if isinstance(seed, int) and 0 <= seed < 2**31 else 0), POSTERIOR)


def fit_draws(fit: Fit) -> dict[str, np.ndarray]:
    """Values of every site with leading axes (chain, draw): the chains of a sampler, else 4,000 draws.

    Short sites come first, long arrays and internal sites last; within each the order is the model's, if known.
    """
    draws = by_chain(fit.posterior, fit_key(fit), NUM_DRAWS)[0]
    place = {name: i for i, name in enumerate(fit.posterior.space.names)}

    def rank(name: str) -> tuple[bool, bool, int]:
        return is_internal(name, draws), draws[name][0, 0].size > LONG, place.get(name, len(place))

    return {name: draws[name] for name in sorted(draws, key=rank)}


def is_internal(name: str, names: Any) -> bool:
    """Whether a site is an auxiliary of another of the model (`a_offset` beside `a`): of less interest to readers."""
    return any(name.endswith(end) and name[: -len(end)] in names for end in _INTERNAL)


def labels_of(fit: Fit, name: str, shape: tuple[int, ...]) -> list[str]:
    """A label for each entry of a site of `shape`: the levels of its factor where known, else indices."""
    axes = fit.info.get("labels")
    axes = axes.get(name) if isinstance(axes, Mapping) else None
    if not isinstance(axes, list | tuple) or [len(axis) for axis in axes] != list(shape):
        axes = [range(n) for n in shape]
    return [", ".join(str(axis[i]) for axis, i in zip(axes, index, strict=True)) for index in np.ndindex(shape)]


def summarise(fit: Fit, draws: Mapping[str, np.ndarray] | None = None) -> list[Row]:
    """A row for every scalar of every site, in the order of `fit_draws`.

    `draws`: values with leading axes (chain, draw), drawn from the posterior where None.
    """
    draws = fit_draws(fit) if draws is None else draws
    columns = [np.asarray(v, float).reshape(*v.shape[:2], -1) for v in draws.values()]
    ess, rhat = _diagnose(fit, columns)
    rows, at = [], 0
    for name, values in zip(draws, columns, strict=True):
        pooled = values.reshape(-1, values.shape[-1])
        quantiles = np.quantile(pooled, [0.05, 0.5, 0.95], axis=0)
        for i, label in enumerate(labels_of(fit, name, draws[name].shape[2:])):
            mean, sd = float(pooled[:, i].mean()), float(pooled[:, i].std())
            low, middle, high = (float(q) for q in quantiles[:, i])
            chained = (ess[at], rhat[at]) if ess else (None, None)
            rows.append(Row(name, label, mean, sd, low, middle, high, *chained))
            at += 1
    return rows


def _diagnose(fit: Fit, columns: list[np.ndarray]) -> tuple[list[float], list[float]]:
    posterior = fit.posterior
    chained = isinstance(posterior, DrawsPosterior) and not posterior.independent
    chained |= isinstance(posterior, StoredPosterior) and posterior.chains > 1
    if (
        not chained
        or sum(c.shape[-1] for c in columns) > MAX_DIAGNOSED
        or columns[0].shape[1] < 8
        or columns[0].shape[0] < 2
    ):
        return [], []
    from jensen.certificate.chains import diagnose

    rhat, ess, _ = diagnose(jax.numpy.asarray(np.concatenate(columns, -1)))
    return [float(e) for e in ess], [float(r) for r in rhat]
