"""The representation of a Gaussian regression for given rows, and the rows on which its training begins."""

from typing import Any

import numpy as np

from jensen.gp._collapsed import num_blocks
from jensen.gp._estimator import pad, pad_times, padded, stretch
from jensen.gp.exact import Collapsed, Exact, GaussianRegression
from jensen.gp.kalman import Kalman
from jensen.gp.vecchia import VecchiaRegression

FEW, SHARE = 2000, 40  # training with inducing points begins on so many rows, or so many for each point
PROBED = 500  # rows on which exact training begins, and of the exact fit that shows whether neighbours are needed
STRETCH = 5000  # training in time begins on so many consecutive times


def represented(kind: str, tree: Any, x: np.ndarray, y: np.ndarray, features: Any) -> GaussianRegression:
    """The representation `kind` of these rows, padded to a common size (but for `vecchia`, with its pattern)."""
    size = padded(len(x))
    targets, present = pad(y, size), np.arange(size) < len(x)
    if kind == "vecchia":
        return VecchiaRegression(tree["kernel"], tree["noise"], x, y, features)
    if kind == "state_space":
        return Kalman(tree["kernel"], tree["noise"], pad_times(x, size), targets, present)
    if kind == "inducing":
        return Collapsed(tree["kernel"], tree["noise"], pad(x, size), targets, features, present, num_blocks(size))
    return Exact(tree["kernel"], tree["noise"], pad(x, size), targets, present)


def some_rows(kind: str, x: np.ndarray, seed: int) -> Any:
    """Rows on which most of the way to the mode costs little, or None where all are not many more."""
    if kind == "state_space" and len(x) > 4 * STRETCH:
        return stretch(x, STRETCH)
    few = PROBED if kind == "exact" else len(x)
    return np.random.default_rng(seed).choice(len(x), few, replace=False) if few < len(x) / 2 else None


def some_blocks(model: GaussianRegression) -> int | None:
    """The same in blocks of rows, with inducing points: there few rows can count for all of them."""
    if not isinstance(model, Collapsed):
        return None
    few = max(FEW, SHARE * len(getattr(model.features, "z", ())))
    blocks = num_blocks(len(model.y))
    some = -(-few * blocks // len(model.y))
    return some if some <= blocks / 2 else None
