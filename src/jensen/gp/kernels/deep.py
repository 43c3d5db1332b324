"""Deep kernels: a network in front of a kernel."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from tinygp.kernels import Kernel

from jensen.core import PRNGKey, check_key, require
from jensen.gp.kernels._fields import Numbers, hyperparameter
from jensen.gp.kernels.stationary import as_rows


class DeepKernel(Kernel):
    """k(x, x') = kernel(h(z), h(z')), z = (x - centre) / scale, h a network whose weights are hyperparameters.

    A kernel like any other: it goes into every prior but those of one input. Weights are trained as real numbers with
    a flat prior, by the evidence; with more of them than the data can tell of, the evidence overfits (its maximum pulls
    inputs of like y together and takes noise for signal): keep the network small, or take the weights' posterior by
    `jensen.fit`. Unlike `tinygp.transforms.Transform`, whose function is fixed, its network is trained.

    `network`: an `eqx.Module` from (d,) to (p,). `kernel`: on R^p. `centre`, `scale`: one or (d,), not trained.
    `deep_kernel` makes one from inputs.

    Source: Wilson, Hu, Salakhutdinov and Xing (2016), Deep kernel learning; the warning: Ober, Rasmussen and van der
    Wilk (2021), The promises and pitfalls of deep kernel learning.
    """

    network: Callable[[Array], Array] = eqx.field(metadata={"real": True})
    kernel: Kernel
    centre: Numbers = hyperparameter(0.0, fixed=True)
    scale: Numbers = hyperparameter(1.0, fixed=True)

    def features(self, x: Any) -> Float[Array, "n p"]:
        """h at inputs (n, d) or (n,)."""
        return jax.vmap(self.network)((as_rows(x) - self.centre) / self.scale)

    def evaluate(self, X1: Any, X2: Any) -> Array:
        a, b = (self.features(jnp.atleast_1d(x)[None])[0] for x in (X1, X2))
        return self.kernel.evaluate(a, b)

    def __call__(self, X1: Any, X2: Any = None) -> Array:
        a = self.features(X1)
        return self.kernel(a) if X2 is None else self.kernel(a, self.features(X2))


def deep_kernel(key: PRNGKey, kernel: Kernel, x: Any, width: int = 32, depth: int = 2, features: int = 2) -> DeepKernel:
    """A `DeepKernel` with a fully connected network (tanh), inputs standardised by the mean and deviation of `x`.

    `width`, `depth`: of the hidden layers. `features`: p, what the kernel sees. Raises `InputError` for sizes below 1,
    or inputs that are not finite.
    """
    require(min(width, depth, features) >= 1, f"Sizes must be 1 or more, got {width}, {depth} and {features}")
    rows = np.asarray(as_rows(x), float)
    require(bool(np.all(np.isfinite(rows))), "Inputs must be finite: there is a NaN or an infinity among them")
    spread = np.std(rows, 0)
    dtype: Any = jnp.result_type(float)
    network = eqx.nn.MLP(rows.shape[1], features, width, depth, jnp.tanh, key=check_key(key), dtype=dtype)
    return DeepKernel(network, kernel, rows.mean(0), np.where(spread > 0, spread, 1.0))
