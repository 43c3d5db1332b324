"""Inter-domain features on the sphere, for `Inducing` with a `Zonal` kernel: network units and harmonics."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jensen.core import Compiled, require
from jensen.gp._linalg import cholesky, solve_lower
from jensen.gp.kernels._fields import as_real
from jensen.gp.kernels.stationary import as_rows
from jensen.gp.kernels.zonal import Zonal, funk_hecke, harmonic_counts, zonal_series
from jensen.gp.priors.inducing import Features

FLOOR = 1e-12  # of the largest eigenvalue of the kernel, below which its degree is left out


class SphericalUnits(Features):
    """u_m = <f, |.| sigma(cos(z_m, .))>_H / c: hidden units of a network, projected in the kernel's own space.

    With s_l, lam_l the Funk-Hecke coefficients of the activation sigma and the kernel, all sums over l <= `degree` with
    lam_l > 0: Kuf = r_n sum_l s_l N_l P_l(cos) / c, Kuu = sum_l s_l^2 / lam_l N_l P_l(cos) / c^2, where c gives them
    unit variance (the length of z_m does not matter). A degree at which sigma has no part (odd l >= 3 for ReLU and
    softplus) is out of reach however many units there are: for kernels that have it, add an orthogonal part
    (`OrthogonallyDecoupled`). For smooth kernels c grows with the degree without limit, and the units get worse.

    `weights`: z, one more column than the inputs (the bias). `activation`: sigma, a function of t in [-1, 1] (static).
    For `Zonal` kernels only.

    Source: Dutordoir et al. (2021), Deep neural networks as point estimates for deep Gaussian processes; Tiao,
    Dutordoir and Picheny (2023), Spherical inducing features for orthogonally-decoupled Gaussian processes.
    """

    weights: Float[Array, "m d"] = eqx.field(converter=lambda z: as_rows(as_real(z)))
    activation: Callable[[Array], Array] = eqx.field(static=True, default=jax.nn.relu)
    degree: int = eqx.field(static=True, default=8)

    def __check_init__(self) -> None:
        require(self.degree >= 1, f"The degree must be 1 or more, got {self.degree}")

    def coefficients(self, kernel: Zonal) -> tuple[Float[Array, " degrees"], Float[Array, " degrees"]]:
        """s_l / c and s_l^2 / lam_l / c^2, zero where lam_l is, c^2 = sum_l N_l s_l^2 / lam_l."""
        d = self.weights.shape[1]
        s, spectrum = funk_hecke(self.activation, d, self.degree), kernel.spectrum(d, self.degree)
        there = spectrum > FLOOR * jnp.max(spectrum)
        squares = jnp.where(there, s**2 / jnp.where(there, spectrum, 1.0), 0.0)
        total = squares @ jnp.asarray(harmonic_counts(d, self.degree), s.dtype)
        return jnp.where(there, s, 0.0) / jnp.sqrt(total), squares / total

    def directions(self) -> Float[Array, "m d"]:
        """z_m / |z_m|."""
        return self.weights / jnp.linalg.norm(self.weights, axis=1, keepdims=True)

    def covariance(self, kernel: Any) -> Float[Array, "m m"]:
        z = self.directions()
        return zonal_series(self.coefficients(kernel)[1], z.shape[1], jnp.clip(z @ z.T, -1.0, 1.0))

    def cross(self, kernel: Any, x: Float[Array, "n d"]) -> Float[Array, "m n"]:
        z, (length, v) = self.directions(), kernel.lifted(x)
        return length * zonal_series(self.coefficients(kernel)[0], z.shape[1], jnp.clip(z @ v.T, -1.0, 1.0))


class SphericalHarmonics(Features):
    """u_lj = sqrt(lam_l) <f, |.| Y_lj>_H, all harmonics Y_lj of degrees l <= `degree`: Kuu = I, Kuf = sqrt(lam_l) r Y.

    The eigenfunctions of a `Zonal` kernel: no M features of its own space leave less variance on the uniform sphere,
    and no matrix Kuu is factorised. Their number is the sum of N_l, which grows as degree^(d - 1): for d up to five or
    so.

    `num_inputs`: columns of x, so that the sphere is that of R^(num_inputs + 1). Raises `InputError` for more than
    5,000 harmonics.

    Source: Dutordoir, Durrande and Hensman (2020), Sparse Gaussian processes with spherical harmonic features.
    """

    roots: tuple[Float[Array, "_ _"], ...]
    centres: tuple[Float[Array, "_ d"], ...]

    def __init__(self, num_inputs: int, degree: int):
        dimension = num_inputs + 1
        counts = harmonic_counts(dimension, degree)
        require(num_inputs >= 1 and degree >= 0, f"One input and degree 0 or more, got {num_inputs} and {degree}")
        require(sum(counts) <= 5000, f"Degree {degree} in {num_inputs} inputs has {sum(counts)} harmonics: take fewer")
        rng = np.random.default_rng(0)
        self.centres = tuple(_spread(rng, count, dimension) for count in counts)
        self.roots = _roots(self.centres)

    def covariance(self, kernel: Any) -> Float[Array, "m m"]:
        return jnp.eye(sum(root.shape[0] for root in self.roots))

    def cross(self, kernel: Any, x: Float[Array, "n d"]) -> Float[Array, "m n"]:
        length, v = kernel.lifted(x)
        spectrum = kernel.spectrum(v.shape[1], len(self.roots) - 1)
        parts = []
        for n, (root, centre) in enumerate(zip(self.roots, self.centres, strict=True)):
            at = jnp.zeros(n + 1, v.dtype).at[n].set(1.0)
            own = solve_lower(root, zonal_series(at, v.shape[1], jnp.clip(centre @ v.T, -1.0, 1.0)))
            # the derivative of a root is infinite at 0, where a degree the kernel lacks has its eigenvalue
            parts.append(jnp.sqrt(jnp.maximum(spectrum[n], jnp.finfo(v.dtype).tiny)) * own)
        return length * jnp.concatenate(parts)


@Compiled  # one program, not several a degree
def _roots(centres: tuple[Float[Array, "_ d"], ...]) -> tuple[Float[Array, "_ _"], ...]:
    """Factors of the harmonics' covariances at these directions, degree by degree."""
    roots = []
    for n, points in enumerate(centres):
        at = jnp.zeros(n + 1, points.dtype).at[n].set(1.0)
        roots.append(cholesky(zonal_series(at, points.shape[1], jnp.clip(points @ points.T, -1.0, 1.0))))
    return tuple(roots)


def _spread(rng: np.random.Generator, count: int, dimension: int) -> Float[Array, "m d"]:
    """Directions far from each other: the best of some random ones, one after another."""
    pool = rng.normal(size=(20 * count + 50, dimension))
    pool /= np.linalg.norm(pool, axis=1, keepdims=True)
    chosen = [0]
    nearest = np.full(len(pool), -np.inf)
    for _ in range(count - 1):
        # a direction and its opposite give the same harmonics but for the sign
        nearest = np.maximum(nearest, np.abs(pool @ pool[chosen[-1]]))
        chosen.append(int(np.argmin(nearest)))
    return jnp.asarray(pool[chosen], jnp.result_type(float))
