"""P045: variational autoencoding neural operators (Seidman, Kissas, Pappas and Perdikaris, 2023).

What is claimed: the bound of an autoencoder has a form in function space, so that one model takes functions on any
grid; on a Gaussian random field, where all is known, what it learns is the field's principal functions. Truth: the
linear optimum, sum_i (lambda_i - sigma^2)_+ phi_i phi_i^T, shrunk by the noise. Baseline: independent Gaussians point
by point. Their encoder of the field is a perceptron on 128 grid values; here integrals, which no grid binds.
"""

import time
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import jensen as jn
from jensen.amortised import Encoded
from jensen.gradient_estimators import SigmaPoints
from jensen.vae import (
    FunctionModel,
    MeanField,
    SampledLikelihoodElbo,
    StandardNormal,
    Waves,
    function_rows,
    linear_functions,
    quadrature_encoder,
    row_target,
    train,
)
from jensen_papers.result import Claim, Result

PAPER = "Seidman, Kissas, Pappas and Perdikaris (2023)"
MODES, NOISE, POINTS = 15, 0.015, 32  # of the field; sigma^2; of the grid that is trained on
GRIDS = (32, 64, 256, 1024)
ELBO = SampledLikelihoodElbo(SigmaPoints())  # exact: a linear decoder's misfit is quadratic in z


def reproduce(full: bool = False, figure: Path | None = None) -> Result:
    """Measure the claims, and write a figure to `figure` if given; `full` goes over latent dimensions and seeds."""
    began = time.perf_counter()
    with jax.enable_x64(False):
        claims, modes = _field()
        if full:
            claims.append(_dimensions())
    if figure is not None:
        _draw(modes, figure)
    return Result("P045", "neural-operators", time.perf_counter() - began, tuple(claims))


def grid(m: int) -> np.ndarray:
    """Equispaced points of the periodic unit interval, (m, 1)."""
    return np.arange(m)[:, None] / m


def field(rng: np.random.Generator, rows: int) -> np.ndarray:
    """Coefficients xi_i sqrt(lambda_i) of a Gaussian field on the sines, lambda_i = 20 / ((2 pi i)^2 + .01)."""
    eigenvalues = 20 / ((2 * np.pi * np.arange(1, MODES + 1)) ** 2 + 0.01)
    return rng.normal(size=(rows, MODES)) * np.sqrt(eigenvalues)


def at(coefficients: np.ndarray, m: int) -> np.ndarray:
    """The functions on a grid of m points."""
    return coefficients @ (np.sqrt(2) * np.sin(2 * np.pi * np.outer(np.arange(1, MODES + 1), grid(m))))


def fitted(U: np.ndarray, latent: int, seed: int, epochs: int) -> Any:
    """A linear autoencoder of functions, trained on values U (rows, points) of the grid."""
    keys = jax.random.split(jax.random.key(seed), 3)
    waves, head = Waves(1, 8, periodic=True), MeanField(latent)
    model = FunctionModel(StandardNormal(latent), linear_functions(keys[0], waves, latent), NOISE**0.5)
    conditional = Encoded(quadrature_encoder(keys[1], waves, 16, head.context), head)
    rows = function_rows(U, grid(U.shape[1]))
    options: Any = dict(objective=ELBO, epochs=epochs, batch_size=128, learning_rate=2e-2, progress=False)
    return train(keys[2], model, conditional, rows, **options)


def covariance(model: Any, m: int) -> np.ndarray:
    """Sum_k tau_k tau_k^T on a grid."""
    tau = np.asarray(_functions(model, jnp.asarray(grid(m))))
    return tau.T @ tau


@eqx.filter_jit
def _functions(model: Any, points: Any) -> Any:
    """tau of each latent at points, (latents, points)."""
    return jax.vmap(lambda z: model.decoder.at(z, points))(jnp.eye(model.prior.dimension))


def spectrum(U: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues and eigenfunctions (columns, unit norm in L2) of the rows' second moments, largest first."""
    m = U.shape[1]
    values, vectors = np.linalg.eigh(U.T @ U / len(U) / m)
    return values[::-1], np.sqrt(m) * vectors[:, ::-1]


@eqx.filter_jit
def _bound(model: Any, conditional: Any, rows: Any) -> Any:
    """(ELBO, squared error of the reconstruction as an integral), means over rows."""

    def one(row: Any) -> Any:
        q, target = conditional.given(row), row_target(model, row)
        back = target.model.reconstruct(q.mean)
        return -ELBO.loss(jax.random.key(0), q, target).value, jnp.mean((back - target.x) ** 2)

    return jax.tree.map(jnp.mean, jax.vmap(one)(rows))


def _field(latent: int = 6, epochs: int = 70) -> tuple[list[Claim], tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    train_on, held = field(rng, 2048), field(rng, 400)
    U = at(train_on, POINTS)
    trained = fitted(U, latent, 0, epochs)
    values, functions = spectrum(U)
    kept = np.maximum(values[:latent] - NOISE, 0)
    shrunk = (functions[:, :latent] * kept) @ functions[:, :latent].T
    plain = (functions[:, :latent] * values[:latent]) @ functions[:, :latent].T
    learned = covariance(trained.model, POINTS)
    off, off_plain = (float(np.linalg.norm(learned - c) / np.linalg.norm(c)) for c in (shrunk, plain))
    found = np.linalg.eigh(learned)[1][:, ::-1][:, :4]
    cosines = np.abs(np.sum(found * functions[:, :4] / np.sqrt(POINTS), 0))
    angle = float(np.degrees(np.arccos(np.minimum(cosines, 1)).max()))
    grids = [
        _bound(trained.model, trained.conditional, function_rows(at(held, m), grid(m))) for m in (64, 128, 256, 1024)
    ]
    bounds, errors = (np.array([float(g[i]) for g in grids]) for i in (0, 1))
    apart, drift = float(np.ptp(NOISE * bounds)), float(np.ptp(errors) / errors[0])
    points = jnp.asarray(grid(POINTS))
    draw: Any = jax.jit(jax.vmap(lambda key: trained.model.draw(key, points)))
    ours = np.asarray(draw(jax.random.split(jax.random.key(1), 400)))
    independent = U.mean(0) + U.std(0) * rng.normal(size=(400, POINTS))
    real = at(held, POINTS)
    distances = [jn.metrics.mmd(rows, real)[0] for rows in (ours, independent)]
    words = f"Gaussian field of {MODES} modes, {latent} latents, noise variance {NOISE}, {POINTS} points"
    where = "Derived: functional probabilistic principal components"
    return [
        Claim(
            f"Relative error of the learned covariance to the shrunk truth (baseline: to the truth unshrunk), {words}",
            where,
            off,
            "< 0.05, and < baseline",
            off_plain,
            off < 0.05 and off < off_plain,
        ),
        Claim(f"Largest angle of the first four functions (degrees), {words}", where, angle, "< 3", None, angle < 3),
        Claim(
            "Range of the bound x sigma^2 (nats) over 32, 64, 256 and 1,024 points, the same weights",
            f"{PAPER}, section 4: discretisation invariant",
            apart,
            "< 1e-2",
            None,
            apart < 1e-2,
        ),
        Claim(
            "Relative range of the squared error of reconstruction over the same",
            f"{PAPER}, section 4",
            drift,
            "< 0.01",
            None,
            drift < 0.01,
        ),
        Claim(
            "MMD^2 of 400 drawn functions to 400 held-out ones, against independent Gaussians point by point",
            f"{PAPER}, table 1, by generalised MMD",
            distances[0],
            "< baseline / 3",
            distances[1],
            distances[0] < distances[1] / 3,
        ),
    ], (found * np.sqrt(POINTS), functions[:, :4])


def _dimensions(seeds: int = 10, epochs: int = 150) -> Claim:
    """Relative error to the whole covariance over latent dimensions, as in the sweep of their code."""
    errors = {}
    for latent in (2, 4, 8, 16, 32, 64):
        runs = []
        for seed in range(seeds):
            U = at(field(np.random.default_rng(seed), 2048), POINTS)
            values, functions = spectrum(U)
            kept = np.maximum(values - NOISE, 0)
            truth = (functions * kept) @ functions.T
            learned = covariance(fitted(U, latent, seed, epochs).model, POINTS)
            runs.append(float(np.linalg.norm(learned - truth) / np.linalg.norm(truth)))
        errors[latent] = float(np.mean(runs))
    listed = ", ".join(f"{latent}: {error:.3f}" for latent, error in errors.items())
    return Claim(
        f"Relative error to the shrunk covariance with 64 latents, against 2, mean of {seeds} seeds ({listed})",
        f"{PAPER}, figure 2: falls, then stays",
        errors[64],
        "< baseline / 3",
        errors[2],
        errors[64] < errors[2] / 3,
    )


def _draw(modes: tuple[np.ndarray, np.ndarray], path: Path) -> None:
    """Learned functions beside the field's own."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 2.2), layout="constrained")
    x, axes = grid(POINTS)[:, 0], figure.subplots(1, 4, sharey=True)
    for i, ax in enumerate(axes):
        learned, true = modes[0][:, i], modes[1][:, i]
        ax.plot(x, true * np.sign(learned @ true), color="grey", lw=4, alpha=0.5, label="field")
        ax.plot(x, learned, label="learned")
        ax.set_title(f"function {i + 1}", fontsize="medium")
        ax.set_xlabel("x")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper", fontsize="small")
    figure.savefig(path)
