"""Variational Fourier features: sines and cosines on an interval as inducing variables of Matern processes."""

import itertools
import math
from typing import Any

import equinox as eqx
import jax.core
import jax.numpy as jnp
import jax.scipy.linalg
import numpy as np
import tinygp.kernels as tk
from jaxtyping import Array, Float
from tinygp.transforms import Subspace

from jensen.core import InputError, require
from jensen.gp._linalg import cholesky, solve_lower
from jensen.gp.kernels._fields import Numbers, hyperparameter
from jensen.gp.kernels.stationary import as_rows
from jensen.gp.priors.inducing import Features
from jensen.gp.state_space.convert import state_space_form
from jensen.gp.state_space.matern import Matern, constants
from jensen.gp.state_space.sde import Level


class FourierFeatures(Features):
    """f projected on 1, cos w_m (x - a), sin w_m (x - a), w_m = 2 pi m / (b - a), and its states at a and b.

    For Matern kernels of half-integer smoothness p + 1/2 (1/2, 3/2, 5/2; `HidaMatern` without frequency). In the
    kernel's own space H of functions on [a, b], u_m = <phi_m, f>_H / sqrt(a_m) has Kuf = phi_m(x) / sqrt(a_m) and
    Kuu = I + V V^T, diagonal plus rank p + 1: a_m = (b - a) / (2 S(w_m)) with the spectral density S (twice that for
    the constant), V from the values and p derivatives of phi_m at a. These are the variational Fourier features of the
    paper. Alone they miss all that f does not share with periodic functions, however many there are, unless [a, b]
    exceeds the inputs by some five lengthscales on either side. So the states (f, ..., f^(p)) at a and b are features
    too: k(x, .) is a periodic function and a combination of what they represent. Then [a, b] may be the range of the
    inputs, and the variance left out falls as num^-(2 p + 1). Beyond the interval Kuf is exact, by the Markov property.

    Several inputs: sums and products of such kernels, each on its own column by `tinygp.transforms.Subspace(column,
    kernel)`, and constants. A sum has the features of each term (additive functions), a product all products of
    features, so that their number grows as a power of that of columns.

    `lower`, `upper`: a and b, one for all columns or (d,), not trained. `num`: frequencies; 2 num + 2 p + 3 features
    for each Matern kernel. For rough functions a state-space prior is cheaper. For `Inducing`,
    `OrthogonallyDecoupled` and `Collapsed`. Raises `InputError` for an empty interval, no frequencies, or (when first
    used) a kernel of another kind.

    Source: Hensman, Durrande and Solin (2018), Variational Fourier features for Gaussian processes; the inner product
    for any p, and the states at the ends, are derived from the state-space form.
    """

    lower: Numbers = hyperparameter(0.0, fixed=True)
    upper: Numbers = hyperparameter(1.0, fixed=True)
    num: int = eqx.field(static=True, default=32)

    def __check_init__(self) -> None:
        require(self.num >= 1, f"One frequency or more is wanted, got {self.num}")
        if not any(isinstance(a, jax.core.Tracer) for a in (self.lower, self.upper)):
            lower, upper = np.asarray(self.lower), np.asarray(self.upper)
            good = np.all(np.isfinite(lower)) and np.all(np.isfinite(upper)) and np.all(lower < upper)
            require(bool(good), f"The interval must be finite and lower < upper, got {lower} and {upper}")

    @classmethod
    def covering(cls, x: Any, num: int = 32, margin: Any = 0.0) -> "FourierFeatures":
        """On the range of the inputs x, (n,) or (n, d), and `margin` (in their units, one or (d,)) either side."""
        rows = np.asarray(as_rows(x), float)
        return cls(rows.min(0) - margin, rows.max(0) + margin, num)

    def covariance(self, kernel: Any) -> Float[Array, "m m"]:
        match kernel:
            case tk.Sum():
                return jax.scipy.linalg.block_diag(self.covariance(kernel.kernel1), self.covariance(kernel.kernel2))
            case tk.Product():
                return jnp.kron(self.covariance(kernel.kernel1), self.covariance(kernel.kernel2))
            case Subspace():
                return self._along(_column(kernel)).covariance(kernel.kernel)
        form = _form(kernel)
        if isinstance(form, Level):
            return jnp.eye(1, dtype=self.lower.dtype)
        root = cholesky(form.stationary())
        v = solve_lower(root, (self._states(form) / self._scales(form)[:, None]).T)
        own = jnp.eye(form.order + 1, dtype=v.dtype)
        between = solve_lower(root, form.transition((self.upper - self.lower).reshape(1))[..., 0] @ root)
        ends = jnp.block([[own, between.T], [between, own]])
        across = jnp.concatenate([v, v])
        return jnp.block([[ends, across], [across.T, jnp.eye(v.shape[1], dtype=v.dtype) + v.T @ v]])

    def cross(self, kernel: Any, x: Float[Array, "n d"]) -> Float[Array, "m n"]:
        match kernel:
            case tk.Sum():
                return jnp.concatenate([self.cross(kernel.kernel1, x), self.cross(kernel.kernel2, x)])
            case tk.Product():
                first, second = self.cross(kernel.kernel1, x), self.cross(kernel.kernel2, x)
                return (first[:, None] * second).reshape(-1, x.shape[0])
            case Subspace():
                column = _column(kernel)
                require(column < x.shape[1], f"The kernel is on column {column}, and the inputs have {x.shape[1]}")
                return self._along(column).cross(kernel.kernel, x[:, column, None])
        form = _form(kernel)
        if isinstance(form, Level):
            return jnp.full((1, x.shape[0]), jnp.sqrt(form.variance))
        require(
            x.shape[1] == 1 and self.lower.size == 1,
            f"{type(kernel).__name__} on {max(x.shape[1], self.lower.size)} inputs has no Fourier features: sum or "
            "multiply kernels of one column each, tinygp.transforms.Subspace(column, kernel)",
        )
        at, (lower, upper) = x[:, 0], (self.lower.reshape(()), self.upper.reshape(()))
        phase = 2 * math.pi * jnp.arange(1, self.num + 1)[:, None] * (at - lower) / (upper - lower)
        inside = jnp.concatenate([jnp.ones((1, len(at)), phase.dtype), jnp.cos(phase), jnp.sin(phase)])
        states, scales = self._states(form), self._scales(form)[:, None]
        # backwards in x a stationary process is the same, its odd derivatives of other sign
        mirror = (-1.0) ** np.arange(states.shape[1])
        after = states @ form.transition(jnp.maximum(at - upper, 0.0))[0]
        before = (states * mirror) @ form.transition(jnp.maximum(lower - at, 0.0))[0]
        values = jnp.where(at > upper, after, jnp.where(at < lower, before, inside)) / scales
        stationary = form.stationary()
        root = cholesky(stationary)

        def state(end: Array) -> Array:
            """Covariance of the white state at `end` with f(x)."""
            earlier = jnp.einsum("ijn,j->in", form.transition(jnp.maximum(end - at, 0.0)), stationary[:, 0])
            later = stationary @ form.transition(jnp.maximum(at - end, 0.0))[0]
            return solve_lower(root, jnp.where(at > end, later, earlier))

        return jnp.concatenate([state(lower), state(upper), values])

    def _along(self, column: int) -> "FourierFeatures":
        """Those of one column."""
        lower, upper = (a if a.ndim == 0 else a[column] for a in (self.lower, self.upper))
        return FourierFeatures(lower, upper, self.num)

    def _width(self, form: Matern) -> Float[Array, ""]:
        """b - a in the process's own time."""
        return form.units((self.upper - self.lower).reshape(1))[0]

    def _frequencies(self, form: Matern) -> Float[Array, " num"]:
        """w_m in the process's own time."""
        return 2 * math.pi * jnp.arange(1, self.num + 1) / self._width(form)

    def _scales(self, form: Matern) -> Float[Array, " m"]:
        """sqrt(a_m)."""
        p, width = form.order, self._width(form)
        # S in the process's own time: it integrates to 2 pi times the variance
        level = form.variance * 2 * math.sqrt(math.pi) * math.gamma(p + 1) / math.gamma(p + 0.5)
        w = self._frequencies(form)
        roots = jnp.sqrt(width / (2 * level)) * (1 + w**2) ** ((p + 1) / 2)
        return jnp.concatenate([jnp.sqrt(width / level)[None], roots, roots])

    def _states(self, form: Matern) -> Float[Array, "m states"]:
        """phi_m and its p derivatives at a, which are those at b, in the units of the states of `form`."""
        powers = constants(form.order)[2]
        steps = [powers[1][j, j + 1] for j in range(form.order)]
        units = np.array(list(itertools.accumulate(steps, lambda a, b: a * b, initial=1.0)))
        w = self._frequencies(form)[:, None] ** np.arange(form.order + 1) / units
        cosine, sine = (
            np.array(cycle * (form.order + 1))[: form.order + 1] for cycle in ([1, 0, -1, 0], [0, 1, 0, -1])
        )
        constant = jnp.zeros((1, form.order + 1), w.dtype).at[0, 0].set(1.0)
        return jnp.concatenate([constant, w * cosine, w * sine])


def _column(kernel: Subspace) -> int:
    axis = kernel.axis
    if not isinstance(axis, int):
        require(len(axis) == 1, f"Fourier features take kernels of one column each, and one is on columns {axis}")
        axis = axis[0]
    return axis


def _form(kernel: Any) -> Matern | Level:
    form = state_space_form(kernel)
    if not isinstance(form, Matern | Level):
        raise InputError(
            f"{type(kernel).__name__} has no Fourier features: use Matern12, Matern32, Matern52, HidaMatern without "
            "frequency, constants, and sums and products of these"
        )
    return form
