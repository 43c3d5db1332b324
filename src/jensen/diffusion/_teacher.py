"""Rows and a denoiser of them, as a target."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jensen.core import InputError, PointPosterior, Space, Target, real_space
from jensen.diffusion.denoisers import Denoiser, moments_of


class Teacher(Target):
    """The distribution that rows were drawn from, as far as it is known: the rows, and a denoiser of them, or None.

    Its density is not known, and NaN: `train_denoiser` and `distil` begin their runs at the rows' mean.
    """

    space: Space = eqx.field(static=True)
    data: Float[Array, "rows d"]
    denoiser: Denoiser | None

    def log_density(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        return jnp.full((), jnp.nan, z.dtype)

    def diagnose(self, z: Float[Array, " d"]) -> str:
        return "a denoiser gives scores and no log density: pass start=teacher.beginning()"

    def beginning(self) -> PointPosterior:
        """The rows' mean, for algorithms that want a point to begin at and do not look at it."""
        return PointPosterior(self.space, jnp.mean(self.data, 0))


def teacher(X: Any, denoiser: Denoiser | None = None) -> Teacher:
    """The target of rows X. Raises `InputError` for X that is no matrix of finite rows, or a denoiser of others."""
    X = jnp.asarray(np.asarray(X), jnp.result_type(float))
    moments_of(X)
    d = X.shape[1]
    if denoiser is not None and denoiser.dimension != d:
        raise InputError(f"The denoiser is of rows of {denoiser.dimension} values, X has {d}")
    made: Any = Teacher
    return made(real_space(x=(d,)), X, denoiser)
