"""The representation of a Gaussian regression for given rows, and the rows on which its training begins."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from jensen.gp._collapsed import num_blocks
from jensen.gp._estimator import pad, pad_times, padded, stretch
from jensen.gp.exact import Collapsed, Exact, GaussianRegression, merged
from jensen.gp.kalman import Kalman
from jensen.gp.vecchia import VecchiaRegression

FEW, SHARE = 2000, 40  # training with inducing points begins on so many rows, or so many for each point
PROBED = 500  # rows on which exact training begins, and of the exact fit that shows whether neighbours are needed
STRETCH = 5000  # training in time begins on so many consecutive times


def represented(
    kind: str, tree: Any, x: np.ndarray, y: np.ndarray, features: Any, rounding: float = 0.0
) -> GaussianRegression:
    """The representation `kind` of these rows, padded to a common size (but for `vecchia`, with its pattern).

    `rounding`: variance of the rounding of y, of an exact one.
    """
    if kind == "exact":
        x, y, repeats, scatter = merged(x, y)
        size = padded(len(x))
        rows = pad(x, size), pad(y, size), np.arange(size) < len(x), np.append(repeats, np.ones(size - len(x)))
        return Exact(tree["kernel"], tree["noise"], *rows, scatter, rounding)
    size = padded(len(x))
    targets, present = pad(y, size), np.arange(size) < len(x)
    if kind == "vecchia":
        return VecchiaRegression(tree["kernel"], tree["noise"], x, y, features)
    if kind == "state_space":
        return Kalman(tree["kernel"], tree["noise"], pad_times(x, size), targets, present)
    return Collapsed(tree["kernel"], tree["noise"], pad(x, size), targets, features, present, num_blocks(size))


def some_rows(model: GaussianRegression, tree: Any, x: np.ndarray, y: np.ndarray, seed: int) -> tuple[Any, float]:
    """(the same of rows on which most of the way to the mode costs little, how many times as many all are).

    None where all are not many more. With inducing points few rows count for all themselves: by blocks of rows, so that
    one compiled program serves both.
    """
    if isinstance(model, Collapsed):
        few = max(FEW, SHARE * len(getattr(model.features, "z", ())))
        blocks = num_blocks(len(model.y))
        some = -(-few * blocks // len(model.y))
        seen = eqx.tree_at(lambda m: m.blocks, model, jnp.asarray(some, jnp.int32))
        return (seen if some <= blocks / 2 else None), 1.0
    if isinstance(model, Kalman) and len(x) > 4 * STRETCH:
        rows = stretch(x, STRETCH)
        return represented("state_space", tree, x[rows], y[rows], None), len(x) / len(rows)
    if isinstance(model, Exact) and np.sum(model.present) / 2 > PROBED:
        rows = np.random.default_rng(seed).choice(len(x), PROBED, replace=False)
        return represented("exact", tree, x[rows], y[rows], None, float(model.rounding)), len(x) / len(rows)
    return None, 1.0
