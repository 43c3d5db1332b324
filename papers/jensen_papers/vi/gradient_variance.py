"""P070: practical and matching gradient variance bounds for black-box VI (Kim, Wu, Oh, Gardner 2023).

What is claimed: the second moment of the reparameterisation gradient is bounded, above and below, by terms whose growth
with the dimension is that of the scale's parameterisation: a dense scale the worst, a diagonal one free of it. For f =
|z|^2 / 2 and z = C u + m the moments are exact, and derived here: dense (d + k) |C|^2 + (d + 1) |m|^2, triangular
sum_i (i + k) |C_i|^2 + (i + 1) m_i^2, diagonal (1 + k) |c|^2 + 2 |m|^2, k the kurtosis of u. `--full` goes to d = 60
and takes more dimensions between.
"""

import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jensen as jn
from jensen.core import in_batches
from jensen.families import DiagonalGaussian, Gaussian
from jensen.gradient_estimators import Reparameterisation, gradient_noise
from jensen.objectives import NegativeElbo
from jensen_papers.result import Claim, Result

PAPER = "Kim et al. (2023)"
NORMAL, LAPLACE = 3.0, 6.0  # kurtosis
NUM = 10_000

Scale = Callable[[Any, Any], Any]  # of parameters and noise: C u
SCALES: dict[str, Scale] = {
    "dense": lambda c, u: c @ u,
    "triangular": lambda c, u: jnp.tril(c) @ u,
    "diagonal": lambda c, u: jnp.diagonal(c) * u,
    "softplus": lambda c, u: jax.nn.softplus(jnp.diagonal(c)) * u,
    "exp": lambda c, u: jnp.exp(jnp.diagonal(c)) * u,
}
LINEAR = ("dense", "triangular", "diagonal")


def reproduce(full: bool = False, figure: Path | None = None) -> Result:
    """Measure the claims in double precision, and write a figure to `figure` if given; `full` adds dimensions."""
    began = time.perf_counter()
    with jax.enable_x64(True):
        growth: dict[str, dict[int, float]] = {}
        dimensions = (2, 6, 20, 60) if full else (2, 8, 24)
        claims = [*_formulas(dimensions), *_growth(dimensions, growth), *_nonlinear(), *_library()]
    if figure is not None:
        _draw(growth, figure)
    return Result("P070", "gradient-variance", time.perf_counter() - began, tuple(claims))


def _exact(name: str, c: np.ndarray, m: np.ndarray, k: float) -> float:
    """E|g|^2 of one draw's gradient by m and the parameters of the scale."""
    d = len(m)
    i = np.arange(1, d + 1)
    if name == "dense":
        return float((d + k) * np.sum(c**2) + (d + 1) * m @ m)
    if name == "triangular":
        return float((i + k) @ np.sum(np.tril(c) ** 2, axis=1) + (i + 1) @ m**2)
    return float((1 + k) * np.sum(np.diagonal(c) ** 2) + 2 * m @ m)


def _measured(name: str, c: Any, m: Any, laplace: bool, seed: int) -> tuple[float, float]:
    """E|g|^2 of E[|C u + m|^2 / 2] by automatic differentiation of single draws, and its standard error."""
    squares = np.asarray(_squares(name, c, m, jnp.asarray(laplace), jax.random.split(jax.random.key(seed), NUM)))
    return float(squares.mean()), float(squares.std(ddof=1) / np.sqrt(NUM))


@functools.partial(jax.jit, static_argnums=0)
def _squares(name: str, c: Any, m: Any, laplace: Any, keys: Any) -> Any:
    def square(key: Any) -> Any:
        u = jnp.where(laplace, jax.random.laplace(key, m.shape) / jnp.sqrt(2.0), jax.random.normal(key, m.shape))
        gradients = jax.grad(lambda c, m: 0.5 * jnp.sum((SCALES[name](c, u) + m) ** 2), argnums=(0, 1))(c, m)
        return sum(jnp.sum(g**2) for g in gradients)

    return in_batches(square, keys, 500)


def _formulas(dimensions: tuple[int, ...]) -> list[Claim]:
    """At random m and C: the worst deviation over dimensions, in standard errors."""
    claims = []
    for name in LINEAR:
        worst, rng = 0.0, np.random.default_rng(0)
        for d in dimensions:
            c, m = rng.normal(size=(d, d)), rng.normal(size=d)
            for laplace in (False, True):
                mean, error = _measured(name, jnp.asarray(c), jnp.asarray(m), laplace, d)
                worst = max(worst, abs(mean - _exact(name, c, m, LAPLACE if laplace else NORMAL)) / error)
        words = f"Standard errors between the measured and the exact E|g|^2, {name} scale, normal and Laplace noise"
        claims.append(Claim(words, f"{PAPER}, matching bounds; formulas derived", worst, "< 4.5", None, worst < 4.5))
    return claims


def _growth(dimensions: tuple[int, ...], growth: dict[str, dict[int, float]]) -> list[Claim]:
    """The slope in d of E|g|^2 / |C|^2 at m = 0, C = I: 1 dense, 1/2 triangular, 0 diagonal."""
    claims = []
    for name, truth in zip(LINEAR, (1.0, 0.5, 0.0), strict=True):
        growth[name] = {d: _measured(name, jnp.eye(d), jnp.zeros(d), False, 7)[0] / d for d in dimensions}
        slope = float(np.polyfit(list(growth[name]), list(growth[name].values()), 1)[0])
        words = f"Growth with d of E|g|^2 / |C|^2, {name} scale (C = I, m = 0), against mean-field's 0"
        claims.append(
            Claim(words, f"{PAPER}, dimension dependence", slope, f"{truth} +- 0.03", None, abs(slope - truth) < 0.03)
        )
    return claims


def _nonlinear() -> list[Claim]:
    """Diagonal scales s = phi(c) of slope at most one: no more than the linear map's moment at the same s."""
    d, rng = 8, np.random.default_rng(1)
    c, m = -np.abs(rng.normal(size=(d, d))), rng.normal(size=d)  # exp has slope below one for c < 0
    claims = []
    for name, phi in (("softplus", jax.nn.softplus), ("exp", jnp.exp)):
        mean, error = _measured(name, jnp.asarray(c), jnp.asarray(m), False, 3)
        linear = _exact("diagonal", np.diag(np.asarray(phi(jnp.diagonal(jnp.asarray(c))))), m, NORMAL)
        words = f"E|g|^2 of the {name} scale, against that of the linear scale at the same q"
        where = f"{PAPER}, 1-Lipschitz diagonal maps"
        claims.append(Claim(words, where, mean, "<= baseline", linear, mean <= linear + 5 * error))
    return claims


def _library() -> list[Claim]:
    """The library's own families: the variance of the ELBO's plain gradient."""
    d = 16
    target = jn.targets.from_log_density(lambda z: -0.5 * z @ z, np.zeros(d))
    objective, total = NegativeElbo(Reparameterisation(num_draws=1)), {}
    for name, q in (
        ("diagonal", DiagonalGaussian(jnp.zeros(d), jnp.zeros(d))),
        ("triangular", Gaussian(jnp.zeros(d), jnp.eye(d))),
    ):
        total[name] = float(gradient_noise(jax.random.key(0), objective, q, target, 4000).total_variance)
    ours, dense = total["diagonal"], total["triangular"]
    words = "Variance of GradientVI's plain gradient, DiagonalGaussian in 16-d, against the Cholesky family"
    return [Claim(words, f"{PAPER}, mean-field against full rank", ours, "< baseline", dense, ours < dense)]


def _draw(growth: dict[str, dict[int, float]], path: Path) -> None:
    """E|g|^2 / |C|^2 against d."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.2), layout="constrained")
    axes = figure.subplots()
    for name, row in growth.items():
        axes.plot(list(row), list(row.values()), "o-", label=name)
    axes.set(xlabel="dimension", ylabel="E|g|^2 / |C|^2", title="Second moment of the gradient")
    axes.legend()
    figure.savefig(path)
