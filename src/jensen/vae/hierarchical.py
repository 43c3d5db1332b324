"""Two levels of latents, all linear: the exact bound, and when the upper level collapses."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jensen.core import InputError, PRNGKey
from jensen.vae.linear import maximised


class LinearHierarchy(eqx.Module):
    """q(z1 | x) = N(W1 x, diag t), q(z2 | z1) = N(W2 z1, diag r); x | z1 ~ N(U1 z1, s I), z1 | z2 ~ N(U2 z2, h I).

    z2 ~ N(0, I). `encoders`: W1 (k1, n) and W2 (k2, k1). `log_spreads`: log t (k1,) and log r (k2,). `decoders`: U1
    (n, k1) and U2 (k1, k2). Rows are centred.
    """

    encoders: tuple[Float[Array, "k1 n"], Float[Array, "k2 k1"]]
    log_spreads: tuple[Float[Array, " k1"], Float[Array, " k2"]]
    decoders: tuple[Float[Array, "n k1"], Float[Array, "k1 k2"]]

    def loss(
        self, cov: Float[Array, "n n"], noise: Any, between: Any, weights: tuple[Any, Any] = (1.0, 1.0)
    ) -> Float[Array, ""]:
        """E[-log p(x | z1) + b1 KL(q(z1 | x) || p(z1 | z2)) + b2 KL(q(z2 | z1) || p(z2))] a row, in nats, exactly.

        `cov`: of the rows. `noise`: s. `between`: h. `weights`: b1, b2; with (1, 1) minus the ELBO.
        """
        (w1, w2), (u1, u2) = self.encoders, self.decoders
        t, r = (jnp.exp(spread) for spread in self.log_spreads)
        second = w1 @ cov @ w1.T + jnp.diag(t)
        upper = w2 @ second @ w2.T + jnp.diag(r)
        misfit = jnp.trace(cov) - 2 * jnp.trace(u1 @ w1 @ cov) + jnp.trace(u1 @ second @ u1.T)
        n, k1, k2 = cov.shape[0], second.shape[0], upper.shape[0]
        reconstruction = 0.5 * (misfit / noise + n * jnp.log(2 * math.pi * noise))
        apart = jnp.trace(second) - 2 * jnp.trace(u2 @ w2 @ second) + jnp.trace(u2 @ upper @ u2.T)
        lower = 0.5 * (apart / between + k1 * jnp.log(between) - k1 - jnp.sum(self.log_spreads[0]))
        highest = 0.5 * (jnp.trace(upper) - k2 - jnp.sum(self.log_spreads[1]))
        return reconstruction + weights[0] * lower + weights[1] * highest


def linear_hierarchy(key: PRNGKey, columns: int, sizes: tuple[int, int], spread: float = 1.0) -> LinearHierarchy:
    """With small random maps, `sizes` = (k1, k2) and t = `spread`. Raises `InputError` for a spread below zero."""
    if not spread > 0:
        raise InputError(f"The spread of q(z1 | x) must be positive, got {spread}")
    keys, (k1, k2) = jax.random.split(key, 4), sizes
    real = jnp.result_type(float)
    shapes = ((k1, columns), (k2, k1), (columns, k1), (k1, k2))
    w1, w2, u1, u2 = (jax.random.normal(k, s, real) / math.sqrt(s[1]) for k, s in zip(keys, shapes, strict=True))
    return LinearHierarchy((w1, w2), (jnp.full(k1, math.log(spread), real), jnp.zeros(k2, real)), (u1, u2))


def fit_hierarchy(
    hierarchy: LinearHierarchy,
    cov: np.ndarray | Array,
    noise: float,
    between: float,
    weights: tuple[float, float] = (1.0, 1.0),
    keep_spread: bool = False,
    steps: int = 3000,
) -> LinearHierarchy:
    """The hierarchy where `loss` is lowest, by L-BFGS; with `keep_spread` the variance t of q(z1 | x) stays."""
    settings = jnp.asarray([noise, between, *weights], float)
    kept = hierarchy.log_spreads[0]
    example = (
        hierarchy.encoders,
        hierarchy.decoders,
        hierarchy.log_spreads[1:] if keep_spread else hierarchy.log_spreads,
    )
    found = maximised(_loss, example, jnp.asarray(cov, float), settings, kept, steps=steps)
    encoders, decoders, spreads = found
    return LinearHierarchy(tuple(encoders), (kept, *spreads) if keep_spread else tuple(spreads), tuple(decoders))


def _loss(tree: Any, cov: Any, settings: Any, kept: Any) -> Any:
    encoders, decoders, spreads = tree
    spreads = (kept, *spreads) if len(spreads) == 1 else spreads
    made = LinearHierarchy(tuple(encoders), tuple(spreads), tuple(decoders))
    return -made.loss(cov, settings[0], settings[1], (settings[2], settings[3]))


def hierarchical_collapse(
    eigenvalues: np.ndarray | Array,
    noise: float,
    between: float,
    spread: float,
    weights: tuple[float, float] = (1.0, 1.0),
) -> np.ndarray:
    """Squared singular values max(0, t max(1, lambda / (b2 s)) - h b2 / b1) of U2 where t = `spread` is held fixed.

    The first term is the variance of z1: t where the lower level carries nothing of the mode. For t < h b2 / b1 the
    upper level is used in modes with lambda > b2^2 h s / (b1 t) alone. With t trained there is no such threshold:
    the scale of z1 is free, and the upper level collapses in every mode for b2 > b1, may be anything for b1 = b2, and
    grows without end for b2 < b1.

    Source: Dang, Tran, Nguyen and Ho (2024), Beyond vanilla variational autoencoders.
    """
    first, second = weights
    variance = spread * np.maximum(1.0, np.asarray(eigenvalues, float) / (second * noise))
    return np.maximum(0.0, variance - between * second / first)
