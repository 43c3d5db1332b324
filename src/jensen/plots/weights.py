"""How evenly importance weights are spread, and the Pareto k-hat of their tail."""

from typing import Any

import numpy as np

from jensen.plots._style import BLUE, GREEN, INK, MUTED, ORANGE, RED, headline, new_figure, tidy

BOUNDS = (0.0, 0.5, 0.7, 1.0)


def weights(khat: float | None, log_weights: np.ndarray | None = None) -> Any | None:
    """k-hat on its scale and, where weights are given, the share of the total weight that the heaviest draws hold.

    k-hat below 0.5 is good, below 0.7 usable. None where there is neither.
    """
    shown = [khat is not None and np.isfinite(khat), log_weights is not None and len(log_weights) > 1]
    if not any(shown):
        return None
    heights = [h for h, wanted in zip((0.75, 2.2), shown, strict=True) if wanted]
    figure = new_figure(sum(heights) + 0.6)
    axes = list(figure.subplots(len(heights), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0])
    if shown[0]:
        _gauge(axes.pop(0), float(khat))  # pyright: ignore[reportArgumentType]
    if shown[1]:
        _share(axes.pop(0), np.asarray(log_weights, float))
    return figure


def _gauge(ax: Any, khat: float) -> None:
    low, high = min(-0.2, khat - 0.1), max(1.2, khat + 0.1)
    edges = (low, 0.5, 0.7, high)
    for left, right, colour, word in zip(
        edges[:-1], edges[1:], (GREEN, ORANGE, RED), ("good", "usable", "unreliable"), strict=True
    ):
        ax.barh(0, right - left, left=left, height=0.5, color=colour, alpha=0.3, linewidth=0)
        ax.text((left + right) / 2, 0, word, ha="center", va="center", fontsize=8, color=INK)
    ax.plot([khat, khat], [-0.42, 0.42], color=INK, linewidth=2.5)
    ax.text(khat, 0.48, f"{khat:.2f}", ha="center", va="bottom", fontsize=9, fontweight="bold", color=INK)
    tidy(ax)
    ax.spines["left"].set_visible(False)
    ax.set(yticks=[], xticks=[0, 0.5, 0.7, 1.0], ylim=(-0.45, 0.95), xlim=(low, high))
    headline(ax, "Pareto k-hat of the importance weights")


def _share(ax: Any, log_weights: np.ndarray) -> None:
    w = np.sort(np.exp(log_weights - np.nanmax(log_weights)))[::-1]
    share = np.concatenate([[0.0], np.cumsum(w) / w.sum()])
    x = np.arange(len(share)) / len(w)
    thin = np.unique(np.concatenate([[0], np.geomspace(1, len(w), 200).astype(int)]))
    ax.fill_between(100 * x[thin], 100 * x[thin], 100 * share[thin], color=BLUE, alpha=0.2, linewidth=0)
    ax.plot(100 * x[thin], 100 * share[thin], color=BLUE, linewidth=1.5)
    ax.plot([0, 100], [0, 100], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    tidy(ax, "y")
    ax.set(xlabel="heaviest draws, % of all", ylabel="% of the weight", xlim=(0, 100), ylim=(0, 102))
    one = 100 * share[max(1, len(w) // 100)]
    headline(ax, f"The heaviest 1 % of draws hold {one:.0f} % of the weight")
