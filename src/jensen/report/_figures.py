"""The figures of a report, as SVG that takes the page's colours."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jensen.core import DrawsPosterior, Fit, PointPosterior, WeightedPosterior
from jensen.core.stored import StoredPosterior
from jensen.report._summary import fit_key, is_internal, labels_of

MAX_PANELS = 14
_POSITIVE = ("positive", "nonnegative")  # by exp


def figures(fit: Fit, draws: Mapping[str, np.ndarray]) -> dict[str, list[tuple[str, str]]]:
    """SVG and caption of every figure that the fit allows, by section. `draws` have leading axes (chain, draw)."""
    from jensen import plots

    out: dict[str, list[tuple[str, str]]] = {}

    def add(section: str, figure: Any, caption: str) -> None:
        if figure is not None:
            parts = out.setdefault(section, [])
            parts.append((plots.to_svg(figure, f"{section}{len(parts)}"), caption))

    shown = [name for name in draws if not is_internal(name, draws)] or list(draws)
    pooled = {n: draws[n].reshape(-1, *draws[n].shape[2:]) for n in shown[:MAX_PANELS]}
    labels = {n: labels_of(fit, n, v.shape[1:]) for n, v in pooled.items()}
    more = f" The first {MAX_PANELS} of {len(shown)} unknowns; the table has all." if len(shown) > MAX_PANELS else ""
    if not isinstance(fit.posterior, PointPosterior):
        # two columns on a wide page: halves of about equal height
        for part in _halves(pooled):
            add("densities", plots.forest(part, labels), "")
        if out.get("densities"):
            caption = "Dot: median. Thick line: half of the probability. Thin line: 90 %." + more
            out["densities"][-1] = (out["densities"][-1][0], caption)
        add("pair", *_pair(fit))
    for name, replicated in fit.predictive.items():
        if name in fit.observed and len(out.get("predictive", [])) < 4:
            caption = "If black and blue disagree, the model cannot give data such as yours, however good the fit is."
            add("predictive", plots.predictive_check(replicated, fit.observed[name], name), caption)
    certificate, posterior = fit.certificate, fit.posterior
    log_weights = posterior.log_weights if isinstance(posterior, WeightedPosterior) else None
    khat = None if certificate is None else certificate.khat
    caption = "k-hat tells how heavy the tail of the weights is; draws of a perfect approximation all weigh the same."
    add("weights", plots.weights(khat, None if log_weights is None else np.asarray(log_weights)), caption)
    objectives = {f"{i + 1}. {run.algorithm}": run.history.objective for i, run in enumerate(fit.runs)}
    caption = (
        "What each method makes small: the negative ELBO for variational methods, the negative log density for a mode."
    )
    add("trace", plots.trace(objectives), caption)
    if fit.runs:
        names = [f"{i + 1}. {run.algorithm}" for i, run in enumerate(fit.runs)]
        add(
            "cost",
            plots.cost(
                names, [r.seconds for r in fit.runs], [r.verdict == "certified" or _passed(r) for r in fit.runs]
            ),
            "",
        )
    return out


def _passed(run: Any) -> bool:
    return run.certificate is not None and run.certificate.passed


def _halves(values: Mapping[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    heights = {n: 0.9 + 0.24 * min(int(np.prod(v.shape[1:])), 30) for n, v in values.items()}
    total, first, so_far = sum(heights.values()), {}, 0.0
    for name, value in values.items():
        if first and so_far + heights[name] / 2 > total / 2:
            break
        first[name], so_far = value, so_far + heights[name]
    second = {n: v for n, v in values.items() if n not in first}
    return [half for half in (first, second) if half]


def _pair(fit: Fit) -> tuple[Any, str]:
    from jensen.plots import pair, worst_pair

    posterior, space = fit.posterior, fit.posterior.space
    if space.dimension < 2:
        return None, ""
    diverging = None
    if isinstance(posterior, DrawsPosterior):
        z, diverging = np.asarray(posterior.pooled), posterior.diverging
    elif isinstance(posterior, StoredPosterior):
        z, diverging = np.asarray(posterior.z), posterior.diverging
    else:
        z = np.asarray(posterior.sample_z(fit_key(fit), 2000))
    if len(z) < 20:
        return None, ""
    i, j, dependence = worst_pair(z)
    axes = [_coordinate(fit, z, k) for k in (i, j)]
    marks = None if diverging is None else np.asarray(diverging).ravel()
    figure = pair(axes[0][0], axes[1][0], (axes[0][1], axes[1][1]), (axes[0][2], axes[1][2]), marks)
    strength = "nearly independent" if dependence < 0.2 else "mildly" if dependence < 0.5 else "strongly"
    words = "these two are " + (strength if dependence < 0.2 else f"{strength} dependent")
    return figure, f"Of all pairs of coordinates {words} (rank dependence {dependence:.2f}); no other pair is more so."


def _coordinate(fit: Fit, z: np.ndarray, k: int) -> tuple[np.ndarray, str, bool]:
    """(values, name, whether to draw on a log axis) of coordinate k: constrained where one coordinate is one entry."""
    space, at = fit.posterior.space, 0
    for v in space.variables:
        if k < at + v.size:
            break
        at += v.size
    if v.shape != v.unconstrained_shape:
        return z[:, k], f"{space.coordinate_names()[k]} (unconstrained)", False
    label = labels_of(fit, v.name, v.shape)[k - at]
    name = f"{v.name}[{label}]" if v.shape else v.name
    if v.support.kind == "real":
        return z[:, k], name, False
    if v.support.kind in _POSITIVE:
        return np.exp(z[:, k]), name, True
    return z[:, k], f"{name} (unconstrained)", False
