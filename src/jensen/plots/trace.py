"""The objective of each run, step by step."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jensen.plots._style import BLUE, INK, headline, new_figure, shorten, tidy

MAX_POINTS = 400


def trace(objectives: Mapping[str, np.ndarray]) -> Any | None:
    """A panel a run: the objective (thin) and its mean over a moving twentieth of the run (bold).

    The vertical range leaves out the extremes of the first steps. None where no run has two finite objectives.
    """
    kept = {n: np.asarray(v, float) for n, v in objectives.items() if np.isfinite(v).sum() > 1}
    if not kept:
        return None
    figure = new_figure(1.7 * len(kept) + 0.3)
    for ax, (name, values) in zip(figure.subplots(len(kept), 1, squeeze=False)[:, 0], kept.items(), strict=True):
        steps = np.arange(1, len(values) + 1)
        thin = np.unique(np.linspace(0, len(values) - 1, min(len(values), MAX_POINTS)).astype(int))
        ax.plot(
            steps[thin],
            values[thin],
            color=BLUE,
            linewidth=0.8,
            alpha=0.55,
            marker="o" if len(values) < 12 else None,
            markersize=3,
        )
        window = max(1, len(values) // 20)
        smooth = _moving_mean(values, window)
        ax.plot(steps[thin], smooth[thin], color=INK, linewidth=1.5)
        late = values[len(values) // 10 :]
        late = late[np.isfinite(late)]
        if late.size:
            low, high = np.quantile(late, [0.0, 0.97])
            margin = 0.08 * (high - low) or 1.0
            ax.set_ylim(low - margin, high + margin)
        tidy(ax, "y")
        ax.set_ylabel("objective")
        headline(ax, shorten(name, 44))
    ax.set_xlabel("step")
    return figure


def _moving_mean(values: np.ndarray, window: int) -> np.ndarray:
    finite = np.isfinite(values)
    total, count = np.cumsum(np.where(finite, values, 0.0)), np.cumsum(finite)
    total[window:], count[window:] = total[window:] - total[:-window], count[window:] - count[:-window]
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
