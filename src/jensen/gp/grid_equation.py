"""Linear partial differential equations on a grid, solved by a Gaussian process whose values are profiled out."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, Float

from jensen.core import Compiled, InputError, Scalar, require, scalar_field
from jensen.gp._linalg import solve_lower
from jensen.gp.kernels.spectral import Bumps
from jensen.gp.kernels.stationary import Matern12, Matern32, Stationary, as_rows
from jensen.gp.kronecker import Kronecker, kronecker_matvec

JITTER = 1e-6  # of the variance: mixtures of many cosines are singular to rounding


class GridEquation(eqx.Module):
    """sum_t c_t d^(o_t1 + ... + o_tD) u / dx_1^o_t1 ... dx_D^o_tD = f on a grid, and u = y on part of it.

    u has a Gaussian process prior of product covariance K = K_1 x ... x K_D on the grid; its derivatives are
    conditional means, d^o u / dx_j^o = (d^o k_j / dx^o) K_j^-1 u. With precisions tau of the boundary values and v of
    the residual,

    loss(u) = log det K / 2 + u^T K^-1 u / 2 + lb [tau |u_b - y|^2 - N_b log tau] / 2 + [v |A u - f|^2 - N log v] / 2.

    It is quadratic in u, so that u is found exactly by least squares in the white coordinates w = L^-1 u, where A is a
    sum of Kronecker products, and only the hyperparameters are left to train: an alternative to many thousand
    first-order steps on u and them together. One axis costs n^3; several use conjugate gradients with N sum_j n_j an
    iteration (`tolerance` relative to the right-hand side, at most `iterations`).

    `axes`: coordinates (n_j,) of each axis; `even`: which of them are evenly spaced (none where not given), so that a
    stationary kernel is evaluated at n_j lags, not n_j^2 pairs. `orders`: (o_t1, ..., o_tD) of each term, static.
    `coefficients`: c_t. `source`: f on the grid. `known`: flat indices (b,) of the grid points where u is given, and
    `values`: these, (b,). `boundary_precision`: tau. `residual_precision`: v, in units of 1 / f^2: about 1 / max|f|^2
    to 1. `boundary_weight`: lb.

    Raises `InputError` for shapes or orders that do not fit.

    Source: Fang, Cooley, Long, Li, Kirby and Zhe (2024), Solving high frequency and multi-scale PDEs with Gaussian
    processes; profiling u out is ours.
    """

    axes: tuple[Array, ...]
    orders: tuple[tuple[int, ...], ...] = eqx.field(static=True)
    coefficients: Float[Array, " terms"]
    source: Array
    known: Array
    values: Array
    boundary_precision: Scalar = scalar_field(1e6)
    residual_precision: Scalar = scalar_field(1e-2)
    boundary_weight: Scalar = scalar_field(200.0)
    tolerance: float = eqx.field(static=True, default=1e-10)
    iterations: int = eqx.field(static=True, default=5000)
    even: tuple[bool, ...] = eqx.field(static=True, default=())

    def __check_init__(self):
        shape = tuple(len(x) for x in self.axes)
        if jnp.shape(self.source) != shape:
            raise InputError(f"source must be a grid of shape {shape}, as the axes are, got {jnp.shape(self.source)}")
        require(len(self.even) in (0, len(shape)), f"even must say of each of {len(shape)} axes, got {self.even}")
        sizes = jnp.shape(self.known), jnp.shape(self.values)
        require(len(sizes[0]) == 1 and sizes[0] == sizes[1], f"One value a known index is wanted, got shapes {sizes}")
        require(len(self.orders) == len(self.coefficients) > 0, "One coefficient a term is wanted, and a term at least")
        for order in self.orders:
            good = len(order) == len(shape) and all(o in (0, 1, 2) for o in order)
            require(good, f"orders must hold {len(shape)} of 0, 1, 2 a term (one an axis), got {order}")

    def solve(self, kernels: Sequence[Any]) -> "GridSolution":
        """The best u for one kernel an axis, with its loss, which may be differentiated in the kernels' parameters."""
        require(
            len(kernels) == len(self.axes),
            f"One kernel an axis is wanted: {len(self.axes)}, got {len(kernels)} kernels",
        )
        highest = max(max(order) for order in self.orders)
        for kernel in kernels:
            smooth = 0 if isinstance(kernel, Matern12) else 1 if isinstance(kernel, Matern32) else 2
            words = f"{type(kernel).__name__} has paths with {smooth} derivatives, and the equation takes {highest}: "
            require(smooth >= highest, words + "use Matern52 or a smoother kernel", InputError)
        return _solve(self, tuple(kernels))

    def gram(self, kernels: Sequence[Any], axis: int, order: int) -> Float[Array, "n n"]:
        """d^order k(x_i, x_j) / dx_i^order on one axis."""
        even = bool(self.even) and self.even[axis] and isinstance(kernels[axis], Bumps | Stationary)
        return (even_derivative_gram if even else derivative_gram)(kernels[axis], self.axes[axis], order)

    def apply(self, terms: tuple[tuple[Array, ...], ...], white: Array) -> Array:
        """A L w on the grid."""
        parts = [c * kronecker_matvec(m, white) for c, m in zip(self.coefficients, terms, strict=True)]
        return functools.reduce(jnp.add, parts)

    def _white_terms(self, kernels: Sequence[Any], prior: Kronecker) -> tuple[tuple[Array, ...], ...]:
        """For each term and axis d^o k / dx^o L^-T, which is L itself for o = 0."""
        wanted = {(j, o) for order in self.orders for j, o in enumerate(order)}
        made = {
            (j, o): prior.trils[j] if o == 0 else solve_lower(prior.trils[j], self.gram(kernels, j, o).T).T
            for j, o in wanted
        }
        return tuple(tuple(made[j, o] for j, o in enumerate(order)) for order in self.orders)

    def _white(self, prior: Kronecker, terms: tuple[tuple[Array, ...], ...]) -> Array:
        root_b = jnp.sqrt(self.boundary_weight * self.boundary_precision)
        root_v = jnp.sqrt(self.residual_precision)
        if len(self.axes) == 1:
            n = prior.shape[0]
            eye = jnp.eye(n, n + 1, dtype=self.source.dtype)  # the last column is the right-hand side
            rows = root_b * jnp.append(prior.trils[0][self.known], self.values[:, None], axis=1)
            operator = functools.reduce(jnp.add, [c * m[0] for c, m in zip(self.coefficients, terms, strict=True)])
            equation = root_v * jnp.append(operator, self.source[:, None], axis=1)
            r = jnp.linalg.qr(jnp.concatenate([eye, rows, equation]), mode="r")
            return jax.scipy.linalg.solve_triangular(r[:n, :n], r[:n, n])

        def forward(w: Array) -> tuple[Array, Array]:
            return root_b * prior.from_white(w).ravel()[self.known], root_v * self.apply(terms, w)

        def normal(w: Array) -> Array:
            return w + transposed(forward(w))[0]

        start = jax.ShapeDtypeStruct(prior.shape, self.source.dtype)
        transposed: Callable[..., Any] = jax.linear_transpose(forward, start)
        right = transposed((root_b * self.values, root_v * self.source))[0]
        operator = lx.FunctionLinearOperator(normal, start, lx.positive_semidefinite_tag)
        solver = lx.CG(rtol=self.tolerance, atol=0.0, max_steps=self.iterations)
        return lx.linear_solve(operator, right, solver, throw=False).value


@Compiled
def _solve(equation: GridEquation, kernels: tuple[Any, ...]) -> "GridSolution":
    grams = [_jittered(equation.gram(kernels, j, 0)) for j in range(len(kernels))]
    prior = Kronecker(tuple(jnp.linalg.cholesky(g) for g in grams))
    terms = equation._white_terms(kernels, prior)
    # at the minimum over w the loss moves with the hyperparameters as if w stood still
    white = equation._white(*jax.lax.stop_gradient((prior, terms)))
    off = prior.from_white(white).ravel()[equation.known] - equation.values
    residual = equation.apply(terms, white) - equation.source
    lb, tau, v = equation.boundary_weight, equation.boundary_precision, equation.residual_precision
    loss = prior.log_det() + jnp.sum(white**2) + lb * tau * jnp.sum(off**2) + v * jnp.sum(residual**2)
    loss = 0.5 * (loss - lb * off.size * jnp.log(tau) - residual.size * jnp.log(v))
    return GridSolution(kernels, equation.axes, prior, white, residual, loss)


class GridSolution(eqx.Module):
    """A solved `GridEquation`: `u` on the grid, `residual` A u - f there, and the profiled `loss` in nats."""

    kernels: tuple[Any, ...]
    axes: tuple[Array, ...]
    prior: Kronecker
    white: Array
    residual: Array
    loss: Float[Array, ""]

    @property
    def u(self) -> Array:
        """The posterior mean on the grid."""
        return self.prior.from_white(self.white)

    def mean(self, axes: Sequence[Any]) -> Array:
        """The posterior mean on the grid of other axes."""
        pairs = zip(self.kernels, axes, self.axes, self.prior.trils, strict=True)
        maps = [solve_lower(tril, k(as_rows(x), as_rows(new))).T for k, new, x, tril in pairs]
        return kronecker_matvec(maps, self.white)


def derivative_gram(kernel: Any, x: Float[Array, " n"], order: int) -> Float[Array, "n n"]:
    """d^order k(x_i, x_j) / dx_i^order for a kernel of one input, by automatic differentiation; order 0, 1 or 2."""
    value = _derivative(kernel, order)
    return jax.vmap(lambda a: jax.vmap(lambda b: value(a, b))(x))(x)


def even_derivative_gram(kernel: Any, x: Float[Array, " n"], order: int) -> Float[Array, "n n"]:
    """`derivative_gram` of a stationary kernel at evenly spaced points: 2 n - 1 evaluations."""
    value = _derivative(kernel, order)
    ahead = x - x[0]
    lags = jnp.concatenate([-ahead[:0:-1], ahead])
    at = jax.vmap(lambda d: value(d, jnp.zeros_like(d)))(lags)
    place = jnp.arange(len(x))
    return at[place[:, None] - place + len(x) - 1]


def _derivative(kernel: Any, order: int) -> Callable[[Array, Array], Array]:
    def value(a: Array, b: Array) -> Array:
        return kernel.evaluate(a[None], b[None])

    for _ in range(order):
        value = jax.jacfwd(value)  # forward: of one number by one number, and cheap to differentiate once more
    return value


def _jittered(gram: Array) -> Array:
    return gram + JITTER * jnp.mean(jnp.diagonal(gram)) * jnp.eye(len(gram), dtype=gram.dtype)
