"""Builders of implicit distributions: a dense network, and one of matrix products."""

import math
from typing import Any

import equinox as eqx

from jensen.core import InputError, PRNGKey, Scalar, scalar_field
from jensen.families._builders import Builder
from jensen.families.gaussian import Gaussian
from jensen.families.generator import Generator, init_dense_generator
from jensen.families.implicit import Implicit
from jensen.families.matrix_networks import init_matrix_networks


def _check_settings(builder: Any, sizes: tuple[str, ...]) -> None:
    """Raises `InputError` for sizes below 1, num_auxiliary or depth below 0, or sigma not positive."""
    for name, least in (*((name, 1) for name in sizes), ("num_auxiliary", 0), ("depth", 0)):
        if getattr(builder, name) < least:
            raise InputError(f"{name} must be at least {least}, got {getattr(builder, name)}")
    if not builder.sigma > 0:
        raise InputError(f"sigma must be positive, got {builder.sigma}")


class ImplicitBuilder(Builder):
    """`Implicit` with `size` latent variables whose network begins as the affine map to the given Gaussian.

    With size = d it begins there, widened by sigma; with fewer, at its first `size` coordinates in the order of L.
    `sigma`: sd of the noise, in units of the Gaussian's. `num_auxiliary`: K of the bound.

    Raises `InputError` for size or width below 1, num_auxiliary or depth below 0, or sigma not positive.
    """

    size: int = eqx.field(static=True, default=8)
    sigma: Scalar = scalar_field(1e-2)
    num_auxiliary: int = eqx.field(static=True, default=64)
    width: int = eqx.field(static=True, default=64)
    depth: int = eqx.field(static=True, default=2)

    def __check_init__(self):
        _check_settings(self, ("size", "width"))

    def build(self, key: PRNGKey, gaussian: Gaussian) -> Implicit:
        return _around(gaussian, init_dense_generator(key, self.size, gaussian.dimension, self.width, self.depth), self)


class HypernetworkBuilder(Builder):
    """`Implicit` whose generator is `MatrixNetworks`: one network of matrix products for each unknown of the target.

    For the weights of networks, an unknown a layer (its matrix, with the bias as a further column): an unknown of
    shape (p, q) is made whole, a vector as a column, more axes with the first as rows. `build` without a target makes
    one column of everything. It begins at the Gaussian's mean with about its standard deviations, along rows x columns
    directions. Train it by `objectives.LinearisedElbo`, whose cost is rows x columns forward derivatives a draw.

    `rows`, `columns`: of the matrix of noise. `width`, `depth`: of the hidden layers. `sigma`, `num_auxiliary`: as in
    `ImplicitBuilder`.

    Raises `InputError` for rows, columns or width below 1, num_auxiliary or depth below 0, or sigma not positive.

    Source: Uppal, Stensbo-Smidt, Boomsma and Frellsen (2023).
    """

    rows: int = eqx.field(static=True, default=4)
    columns: int = eqx.field(static=True, default=4)
    sigma: Scalar = scalar_field(1e-2)
    num_auxiliary: int = eqx.field(static=True, default=64)
    width: int = eqx.field(static=True, default=16)
    depth: int = eqx.field(static=True, default=1)

    def __check_init__(self):
        _check_settings(self, ("rows", "columns", "width"))

    def build(self, key: PRNGKey, gaussian: Gaussian) -> Implicit:
        return self._of(key, gaussian, ((gaussian.dimension, 1),))

    def build_for(self, key: PRNGKey, target: Any, gaussian: Gaussian) -> Implicit:
        shapes = tuple(_matrix(v.unconstrained_shape) for v in target.space.variables)
        if sum(math.prod(s) for s in shapes) != gaussian.dimension:
            raise InputError(f"The target has {shapes} unknowns, and the Gaussian {gaussian.dimension}")
        return self._of(key, gaussian, shapes)

    def _of(self, key: PRNGKey, gaussian: Gaussian, shapes: tuple[tuple[int, int], ...]) -> Implicit:
        return _around(
            gaussian, init_matrix_networks(key, shapes, (self.rows, self.columns), self.width, self.depth), self
        )


def _around(gaussian: Gaussian, generator: Generator, builder: Any) -> Implicit:
    sigma = builder.sigma.astype(gaussian.mean.dtype)
    return Implicit(gaussian.mean, gaussian.scale_tril, generator, sigma, builder.num_auxiliary)


def _matrix(shape: tuple[int, ...]) -> tuple[int, int]:
    return (1, 1) if not shape else (shape[0], math.prod(shape[1:]))
