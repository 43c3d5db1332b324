"""Deep kernel machines: deep Gaussian processes in the limit that keeps representation learning, as an optimisation."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jensen.core import Compiled, InputError, PRNGKey, Scalar, Space, Target, as_scalar, real_space, require
from jensen.gp._linalg import LOG_2PI, cholesky, solve_lower
from jensen.gp.infinite_width import Activation, ReLU, gram_of_gram
from jensen.gp.kernels.stationary import as_rows


class Blocks(eqx.Module):
    """Gram matrix of m inducing points and n rows: `inducing` (m, m), `cross` (n, m), the rows' `diagonal` (n,)."""

    inducing: Float[Array, "m m"]
    cross: Float[Array, "n m"]
    diagonal: Float[Array, " n"]


class KernelMachine(Target):
    """What the dense and the sparse machine share: layers of Gram matrices between some rows, the `anchors`.

    G_l = C_l T_l T_l^T C_l^T with C_l C_l^T = K(G_{l-1}), G_0 = X X^T / d of the anchors; coordinates z are the lower
    triangles of all T_l, with the logarithms of their diagonals.
    """

    x: Float[Array, "n d"]
    y: Float[Array, "n k"]
    nu: Float[Array, " l"]
    noise: Scalar
    activation: Activation
    weight_variance: Scalar

    def __init__(
        self,
        x: Any,
        y: Any,
        nu: Any,
        noise: float | Scalar = 0.1,
        activation: Activation | None = None,
        weight_variance: float | Scalar = 2.0,
    ):
        self.x, self.y, self.nu = _checked(x, y, nu, noise, weight_variance)
        self.noise, self.weight_variance = as_scalar(noise), as_scalar(weight_variance)
        self.activation = ReLU() if activation is None else activation

    @property
    @abc.abstractmethod
    def anchors(self) -> Float[Array, "m d"]:
        """The rows whose Gram matrices are learned."""

    @property
    def space(self) -> Space:
        m = self.anchors.shape[0]
        return real_space(factors=(self.nu.shape[0], m * (m + 1) // 2))

    def start(self, key: PRNGKey) -> Float[Array, " z"]:
        """The NNGP, and a little noise, so that several starts differ."""
        return 0.01 * jax.random.normal(key, (self.space.dimension,), self.x.dtype)

    @Compiled
    def grams(self, z: Float[Array, " z"]) -> Float[Array, "l m m"]:
        """G_1..G_L at z."""
        return jnp.stack(self._layers(z)[1])

    def _kernel(self, gram: Float[Array, "m m"]) -> Float[Array, "m m"]:
        return self.weight_variance * gram_of_gram(self.activation, gram)

    def _layers(self, z: Float[Array, " z"]) -> tuple[Float[Array, "l m m"], list[Array]]:
        """T_l and G_l, l = 1..L."""
        x = self.anchors
        rows, columns = np.tril_indices(len(x))
        values = z.reshape(self.nu.shape[0], -1)
        values = jnp.where(rows == columns, jnp.exp(values), values)
        factors = jnp.zeros((self.nu.shape[0], len(x), len(x)), z.dtype).at[:, rows, columns].set(values)
        grams, gram = [], x @ x.T / x.shape[1]
        for relative in factors:
            half = cholesky(self._kernel(gram)) @ relative
            gram = half @ half.T
            grams.append(gram)
        return factors, grams

    def _top(self, grams: list[Array], rows: Float[Array, "r d"]) -> Blocks:
        """K of the last layer between the anchors and at any rows, which follow by conditioning layer by layer."""
        blocks = _inputs(self.anchors, rows)
        for gram in grams:
            blocks = _conditioned(_kernel_blocks(self.activation, self.weight_variance, blocks), gram)
        return _kernel_blocks(self.activation, self.weight_variance, blocks)


class DeepKernelMachine(KernelMachine):
    """L(G_1..G_L) = log P(Y | G_L) - sum_l nu_l KL(N(0, G_l) || N(0, K(G_{l-1}))), G_0 = X X^T / d, to be maximised.

    The limit of deep Gaussian processes with N nu_l features a layer and N copies of the outputs, N -> infinity: the
    posterior of the features of layer l is exactly N(0, G_l), with G at the maximum, and G_l is *learned*, where the
    usual limit of infinite width (nu -> infinity, `NNGP`) has G_l = K(G_{l-1}). K(G) = w E_{N(0, G)}[phi phi^T]; log
    P(Y | G) = sum over columns of log N(y; 0, K(G) + noise I), noise 0 allowed.

    A target for `Mode`: `log_density(z)` is the objective in nats (no density), over factors T_l of
    G_l = C_l T_l T_l^T C_l^T with C_l C_l^T = K(G_{l-1}), so that z = 0 is the NNGP, the start, and the divergence is
    (|T_l|^2 - n) / 2 - log det T_l. Kernels that are not linear may have several optima. O(L n^3) an evaluation and
    L n^2 / 2 unknowns: up to some hundred rows; beyond, `SparseDeepKernelMachine`.

    `x`: (n, d). `y`: (n, k). `nu`: (L,), positive, in numbers of output columns: how firmly a layer holds to its prior.

    Raises `InputError` for shapes that do not fit, values that are not finite, nu or a weight variance that are not
    positive, or a negative noise.

    Source: Yang, Robeyns, Milsom, Anson, Schoots and Aitchison (2023), A theory of representation learning gives a deep
    generalisation of kernel methods.
    """

    def __init__(
        self,
        x: Any,
        y: Any,
        nu: Any,
        noise: float | Scalar = 0.1,
        activation: Activation | None = None,
        weight_variance: float | Scalar = 2.0,
    ):
        super().__init__(x, y, nu, noise, activation, weight_variance)

    @property
    def anchors(self) -> Float[Array, "n d"]:
        return self.x

    def log_density(self, z: Float[Array, " z"]) -> Float[Array, ""]:
        factors, grams = self._layers(z)
        return _log_outputs(self._kernel(grams[-1]), self.noise, self.y) - _divergences(self.nu, factors)

    def log_density_at_width(self, z: Float[Array, " z"], width: float | Scalar) -> Float[Array, ""]:
        """log density of z for a deep GP of N nu_l features a layer and N copies of Y, N = `width`, up to a constant.

        N L(z) - sum_l sum_i i log T_l,ii, i = 0.., for T are Bartlett's factors of a Wishart matrix: exact for any
        N nu_l >= n. A density over z, to be sampled; as N grows it shrinks to the maximum of L.
        """
        factors, _ = self._layers(z)
        places = jnp.arange(self.x.shape[0])
        return width * self.log_density(z) - jnp.sum(places * jnp.log(jnp.diagonal(factors, axis1=1, axis2=2)))

    def predict(self, z: Float[Array, " z"], x_new: Any) -> tuple[Float[Array, "m k"], Float[Array, " m"]]:
        """Mean (m, k) and variance (m,) of new outputs, noise included, with the Grams of z."""
        top = self._top(self._layers(z)[1], _as_new(x_new, self.x))
        tril = _noisy_tril(top.inducing, self.noise)
        half = solve_lower(tril, top.cross.T)
        mean = half.T @ solve_lower(tril, self.y)
        return mean, jnp.maximum(top.diagonal - jnp.sum(half**2, 0), 0.0) + self.noise


class SparseDeepKernelMachine(KernelMachine):
    """The deep kernel machine whose learned Gram matrices are those of m inducing inputs: linear in the number of rows.

    L = sum_columns [log N(y; 0, Q + noise I) - tr(K_tt - Q) / (2 noise)]
    - sum_l nu_l KL(N(0, G_l) || N(0, K(G_{l-1}))), G_l of m x m, Q = K_ti K_ii^-1 K_it at the last layer (the collapsed
    bound: the best q(u) of the outputs is used). The blocks of the rows follow layer by layer:
    G_ti = K_ti K_ii^-1 G_ii, and g_tt = k_tt - diag(K_ti K_ii^-1 K_it) + diag(K_ti K_ii^-1 G_ii K_ii^-1 K_it). With the
    rows themselves as inducing inputs it is `DeepKernelMachine`. O(L (m^3 + n m^2)) an evaluation.

    `inducing`: (m, d), held fixed: some of the rows, or centres of clusters. The rest as in `DeepKernelMachine`, but
    the noise must be positive. Raises `InputError` as that does.

    Source: Yang et al. (2023), section on sparse deep kernel machines.
    """

    inducing: Float[Array, "m d"]

    def __init__(
        self,
        x: Any,
        y: Any,
        inducing: Any,
        nu: Any,
        noise: float | Scalar = 0.1,
        activation: Activation | None = None,
        weight_variance: float | Scalar = 2.0,
    ):
        super().__init__(x, y, nu, noise, activation, weight_variance)
        self.inducing = _as_new(inducing, self.x)
        if not isinstance(noise, jax.core.Tracer):
            require(float(noise) > 0, f"The noise of a sparse machine must be positive, got {noise}", InputError)

    @property
    def anchors(self) -> Float[Array, "m d"]:
        return self.inducing

    def log_density(self, z: Float[Array, " z"]) -> Float[Array, ""]:
        factors, grams = self._layers(z)
        top = self._top(grams, self.x)
        half, spread = self._projected(top)
        n, k = self.y.shape
        white = solve_lower(spread, half @ self.y) / jnp.sqrt(self.noise)
        square = jnp.sum(self.y**2) / self.noise - jnp.sum(white**2)
        log_det = 2 * jnp.sum(jnp.log(jnp.diagonal(spread))) + n * jnp.log(self.noise)
        lost = jnp.sum(top.diagonal) / self.noise - jnp.sum(half**2)
        return -0.5 * (square + k * (log_det + n * LOG_2PI + lost)) - _divergences(self.nu, factors)

    def predict(self, z: Float[Array, " z"], x_new: Any) -> tuple[Float[Array, "m k"], Float[Array, " m"]]:
        """Mean (m, k) and variance (m,) of new outputs, noise included, with the Grams of z."""
        _, grams = self._layers(z)
        half, spread = self._projected(self._top(grams, self.x))
        top = self._top(grams, _as_new(x_new, self.x))
        new = solve_lower(cholesky(top.inducing), top.cross.T)
        inner = solve_lower(spread, new)
        mean = inner.T @ solve_lower(spread, half @ self.y) / jnp.sqrt(self.noise)
        return mean, top.diagonal - jnp.sum(new**2, 0) + jnp.sum(inner**2, 0) + self.noise

    def _projected(self, top: Blocks) -> tuple[Float[Array, "m n"], Float[Array, "m m"]]:
        """A = K_ii^-1/2 K_it / sqrt(noise), and the factor of I + A A^T."""
        half = solve_lower(cholesky(top.inducing), top.cross.T) / jnp.sqrt(self.noise)
        return half, jnp.linalg.cholesky(jnp.eye(half.shape[0], dtype=half.dtype) + half @ half.T)


def _divergences(nu: Float[Array, " l"], factors: Float[Array, "l n n"]) -> Float[Array, ""]:
    """sum_l nu_l KL(N(0, G_l) || N(0, K_l)) for G_l = C_l T_l T_l^T C_l^T."""
    log_det = jnp.sum(jnp.log(jnp.diagonal(factors, axis1=1, axis2=2)), axis=1)
    return nu @ (0.5 * (jnp.sum(factors**2, axis=(1, 2)) - factors.shape[1]) - log_det)


def _log_outputs(k: Float[Array, "n n"], noise: Scalar, y: Float[Array, "n k"]) -> Float[Array, ""]:
    """Sum over columns of log N(y; 0, k + noise I)."""
    tril = _noisy_tril(k, noise)
    log_det = jnp.sum(jnp.log(jnp.diagonal(tril)))
    return -0.5 * jnp.sum(solve_lower(tril, y) ** 2) - y.shape[1] * (log_det + 0.5 * len(y) * LOG_2PI)


def _noisy_tril(k: Float[Array, "n n"], noise: Scalar) -> Float[Array, "n n"]:
    return cholesky(k + noise * jnp.eye(len(k), dtype=k.dtype))


def _inputs(x: Float[Array, "m d"], rows: Float[Array, "n d"]) -> Blocks:
    d = x.shape[1]
    return Blocks(x @ x.T / d, rows @ x.T / d, jnp.mean(rows**2, axis=1))


def _kernel_blocks(activation: Activation, weight_variance: Scalar, g: Blocks) -> Blocks:
    """K of all blocks."""
    variances = jnp.diagonal(g.inducing)
    duals = jax.vmap(jax.vmap(activation.dual, (None, 0, 0)), (0, None, 0))
    cross = duals(g.diagonal, variances, g.cross)
    inducing, diagonal = gram_of_gram(activation, g.inducing), jax.vmap(activation.second_moment)(g.diagonal)
    return jax.tree.map(lambda k: weight_variance * k, Blocks(inducing, cross, diagonal))


def _conditioned(k: Blocks, gram: Float[Array, "m m"]) -> Blocks:
    """The Gram blocks of rows, given that of the inducing points: the Gaussian conditional, averaged."""
    tril = cholesky(k.inducing)
    half = solve_lower(tril, k.cross.T)
    weights = jax.scipy.linalg.solve_triangular(tril, half, lower=True, trans=1)
    cross = weights.T @ gram
    return Blocks(gram, cross, k.diagonal - jnp.sum(half**2, 0) + jnp.sum(weights * cross.T, 0))


def _checked(x: Any, y: Any, nu: Any, noise: Any, weight_variance: Any) -> tuple[Array, Array, Array]:
    real = jnp.result_type(float)
    x, y, nu = as_rows(jnp.asarray(x, real)), as_rows(jnp.asarray(y, real)), jnp.atleast_1d(jnp.asarray(nu, real))
    require(len(x) == len(y), f"x has {len(x)} rows and y has {len(y)}: one output row for each input", InputError)
    require(nu.ndim == 1 and nu.shape[0] >= 1, f"nu must hold one number a layer, got shape {nu.shape}", InputError)
    if any(isinstance(v, jax.core.Tracer) for v in (x, y, nu, noise, weight_variance)):
        return x, y, nu
    for name, value in (("x", x), ("y", y)):
        require(bool(np.all(np.isfinite(value))), f"{name} has a value that is NaN or infinite", InputError)
    require(bool(np.all(np.asarray(nu) > 0)), f"nu must be positive, got {np.asarray(nu)}", InputError)
    require(float(noise) >= 0, f"noise must be 0 or more, got {float(noise):g}", InputError)
    require(float(weight_variance) > 0, f"weight_variance must be positive, got {float(weight_variance):g}", InputError)
    return x, y, nu


def _as_new(rows: Any, x: Float[Array, "n d"]) -> Float[Array, "m d"]:
    rows = as_rows(jnp.asarray(rows, x.dtype))
    wide = rows.ndim == 2 and rows.shape[1] == x.shape[1]
    require(wide, f"Rows must have {x.shape[1]} columns as x has, got shape {rows.shape}", InputError)
    return rows
