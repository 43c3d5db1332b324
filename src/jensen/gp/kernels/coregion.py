"""Several outputs in one list of rows: a kernel on inputs and the number of the output that a row observes."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from tinygp.kernels import Kernel

from jensen.core import require
from jensen.gp.kernels._fields import as_real, hyperparameter
from jensen.gp.kernels.stationary import as_rows


class Coregion(Kernel):
    """k((x, s), (x', t)) = B_st k(x, x'), B = W W^T + diag(kappa): the intrinsic coregionalisation model.

    Rows are (x, task), the task 0 .. k - 1 in the last column (`with_tasks` makes such rows), so that outputs may be
    observed at different inputs, each as often as it is. Sums over different kernels are the linear model of
    coregionalisation. A row of another task number has covariances NaN, which no factorisation accepts. On rows of the
    task alone, such as a task axis of `Grid`, `Coregion(tinygp.kernels.Constant(1.0), W, kappa)` is B.

    `kernel`: on x alone; its variance and the scale of B are known only as a product. `mixing`: W, (k, q), q the rank
    of what outputs share, trained as real numbers (rows of equal sign: outputs that rise together). `kappa`: (k,),
    variance of each output's own, positive. Raises `InputError` for shapes that do not fit.

    Source: Bonilla, Chai and Williams (2008), Multi-task Gaussian process prediction; Alvarez, Rosasco and Lawrence
    (2012), Kernels for vector-valued functions: a review.
    """

    kernel: Kernel
    mixing: Float[Array, "k q"] = eqx.field(converter=as_real, metadata={"real": True})
    kappa: Float[Array, " k"] = hyperparameter()

    def __init__(self, kernel: Kernel, mixing: Any, kappa: Any = 1.0):
        self.kernel, self.mixing = kernel, as_real(mixing)
        require(self.mixing.ndim == 2, f"The mixing must have a row for each output, got shape {self.mixing.shape}")
        kappa = as_real(kappa)
        require(
            kappa.shape in ((), self.mixing.shape[:1]),
            f"kappa must be one number for each of {self.mixing.shape[0]} outputs, got shape {kappa.shape}",
        )
        self.kappa = jnp.broadcast_to(kappa, self.mixing.shape[:1])

    def between(self) -> Float[Array, "k k"]:
        """B."""
        return self.mixing @ self.mixing.T + jnp.diag(self.kappa)

    def evaluate(self, X1: Any, X2: Any) -> Array:
        return self(X1[None], X2[None])[0, 0]

    def __call__(self, X1: Any, X2: Any = None) -> Array:
        a, s = _apart(X1)
        if X2 is None:
            return _at(jnp.diagonal(self.between()), s) * self.kernel(a)
        b, t = _apart(X2)
        return _at(_at(self.between(), s).T, t).T * self.kernel(a, b)


def with_tasks(inputs: Sequence[Any]) -> Float[Array, "n d"]:
    """Rows (x, task) of all outputs, from the inputs of each, (n_t,) or (n_t, d).

    Observations are put one after the other likewise. Raises `InputError` for inputs of different widths.
    """
    rows = [np.asarray(as_rows(x), float) for x in inputs]
    widths = sorted({r.shape[1] for r in rows})
    require(len(widths) == 1, f"Inputs of all outputs must have the same number of columns, got {widths}")
    return as_real(np.concatenate([np.column_stack([r, np.full(len(r), t)]) for t, r in enumerate(rows)]))


def _apart(x: Any) -> tuple[Float[Array, "n d"], Float[Array, " n"]]:
    rows = as_rows(x)
    return rows[:, :-1], rows[:, -1]


def _at(values: Float[Array, "k *b"], task: Float[Array, " n"]) -> Float[Array, "n *b"]:
    """Rows of the nearest task; NaN where there is none, for indices would be cut to the last one."""
    nearest = jnp.round(task)
    known = (nearest >= 0) & (nearest < len(values))
    rows = values[jnp.where(known, nearest, 0).astype(int)]
    return jnp.where(known.reshape(-1, *[1] * (values.ndim - 1)), rows, jnp.nan)
