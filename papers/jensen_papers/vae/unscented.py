"""P069: unscented autoencoder (Janjos, Rosenbaum, Dolgov and Zoellner, 2023).

What is claimed: sigma points in place of random draws give gradients of lower variance; with a Wasserstein penalty in
place of the divergence, and the decoded points averaged, an autoencoder of competitive Frechet distance. It wants the
penalty of the decoder's slope that they give: without it (their weight is 1e-6, with one point) the decoder uses the
points as an ensemble and is poor at the mean. Baselines: reparameterised draws at equal decoder passes; the variational
autoencoder; the same loss with the errors of the points averaged in place of the points. Their code takes sigma points
from the rows of L where the columns are meant: measured.
"""

import time
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jensen.core import Compiled, Objective
from jensen.families import DiagonalGaussian, Gaussian
from jensen.gradient_estimators import Reparameterisation, SigmaPairs, SigmaPoints
from jensen.vae import (
    BetaElbo,
    SampledLikelihoodElbo,
    UnscentedLoss,
    WassersteinLoss,
    ex_post,
    row_target,
    squared_wasserstein,
    train,
)
from jensen.vae.likelihoods import gaussian
from jensen_papers.result import Claim, Result
from jensen_papers.vae import _images as images

PAPER = "Janjos, Rosenbaum, Dolgov and Zoellner (2023)"
LATENT, NOISE, WEIGHT = 8, 0.2, 0.5


def reproduce(full: bool = False, figure: Path | None = None) -> Result:
    """Measure the claims, and write a figure to `figure` if given; `full` trains three times as long."""
    began = time.perf_counter()
    with jax.enable_x64(True):
        claims = [*_quadratic(), _wasserstein()]
    with jax.enable_x64(False):
        claims += _variance()
        found, draws = _digits((0, 1, 2), 60 if full else 15)
        claims += found
    if figure is not None:
        _draw(draws, figure)
    return Result("P069", "unscented-autoencoder", time.perf_counter() - began, tuple(claims))


def _quadratic(d: int = 5) -> list[Claim]:
    """E z' Q z under a full covariance, by columns of L and by its rows, and by draws."""
    rng = np.random.default_rng(0)
    Q = jnp.asarray(rng.normal(size=(d, d)))
    q = Gaussian(jnp.asarray(rng.normal(size=d)), jnp.asarray(np.tril(rng.normal(size=(d, d))) + 2 * np.eye(d)))
    mean, cov = q.mean_and_cov()
    truth = float(mean @ Q @ mean + jnp.trace(Q @ cov))

    def value(estimator: Any, key: Any) -> Any:
        return estimator.expectation(key, q, lambda _, z: z @ Q @ z).value

    ours = abs(float(value(SigmaPoints(), jax.random.key(0))) / truth - 1)
    rows = abs(float(mean @ Q @ mean + jnp.trace(Q @ q.scale_tril.T @ q.scale_tril)) - truth)
    keys = jax.random.split(jax.random.key(1), 500)
    draws = jax.jit(jax.vmap(lambda key: value(Reparameterisation(num_draws=2 * d), key)))(keys)
    spread = float(jnp.std(draws))
    where = "Derived: sigma points are exact for quadratics"
    return [
        Claim(
            f"Relative error of E z'Qz by sigma points, {d} dimensions; baseline: deviation by as many draws",
            where,
            ours,
            "< 1e-12, and baseline > 0.1",
            spread,
            ours < 1e-12 and spread > 0.1,
        ),
        Claim(
            "The same by the rows of L, as in their code for full covariances: absolute error (they stand for L'L)",
            "Derived; harmless where the covariance is diagonal",
            rows,
            "> 0.1",
            None,
            rows > 0.1,
        ),
    ]


def _wasserstein(n: int = 200_000) -> Claim:
    """The squared Wasserstein distance of a diagonal Gaussian against optimally coupled draws."""
    rng = np.random.default_rng(1)
    q = DiagonalGaussian(jnp.asarray(rng.normal(size=4)), jnp.asarray(0.5 * rng.normal(size=4)))
    draws = np.asarray(q.mean) + np.exp(np.asarray(q.log_scale)) * rng.normal(size=(n, 4))
    coupled = float(np.mean((np.sort(draws, 0) - np.sort(rng.normal(size=(n, 4)), 0)) ** 2, 0).sum())
    off = abs(float(squared_wasserstein(q)) / coupled - 1)
    return Claim(
        f"Relative error of W_2(q, N(0, I))^2 against optimally coupled draws, 4 dimensions, {n} draws",
        f"{PAPER}, equation 12, with squared norms",
        off,
        "< 0.02",
        None,
        off < 0.02,
    )


@Compiled
def _noise(objective: Objective, model: Any, conditional: Any, rows: Any, keys: Any) -> Any:
    """Total variance over keys of the gradient in the decoder's and encoder's weights, at a frozen minibatch."""
    trainable, rest = eqx.partition((model, conditional), eqx.is_inexact_array)

    def gradient(key: Any) -> Any:
        def loss(part: Any) -> Any:
            model, conditional = eqx.combine(part, rest)
            keys = jax.random.split(key, len(rows))
            values = jax.vmap(lambda key, x: objective.loss(key, conditional.given(x), row_target(model, x)).surrogate)(
                keys, rows
            )
            return jnp.mean(values)

        return jnp.concatenate([jnp.ravel(g) for g in jax.tree.leaves(jax.grad(loss)(trainable))])

    return jnp.sum(jnp.var(jax.lax.map(gradient, keys), 0))


def _variance() -> list[Claim]:
    """Gradients at an untrained model and 32 digits: all 16 sigma points, 8 random pairs, 16 draws."""
    X, _ = images.digits(0)
    model, conditional = images.parts(jax.random.key(0), X, gaussian(NOISE, trained=False), LATENT)
    keys, rows = jax.random.split(jax.random.key(1), 50), jnp.asarray(X[:32], jnp.float32)
    estimators = (SigmaPoints(), SigmaPairs(LATENT), Reparameterisation(num_draws=2 * LATENT))
    points, pairs, draws = (float(_noise(SampledLikelihoodElbo(e), model, conditional, rows, keys)) for e in estimators)
    words = f"Total variance of a minibatch's gradient, digits, {LATENT} latents, {2 * LATENT} decoder passes a row"
    where = f"{PAPER}, section 4.1: lower variance of the gradient"
    return [
        Claim(f"{words}: all sigma points", where, points, "< baseline / 1e6", draws, points < 1e-6 * draws),
        Claim(
            f"{words}: pairs of sigma points at random. It is not lower: the scales' gradients are of one axis a pair",
            where,
            pairs,
            "< 5 x baseline",
            draws,
            pairs < 5 * draws,
        ),
    ]


def _digits(seeds: tuple[int, ...], epochs: int) -> tuple[list[Claim], dict[str, np.ndarray]]:
    """Held-out reconstruction and the Frechet distance of draws from a mixture fitted to the codes."""
    variants = {
        "unscented": UnscentedLoss(WEIGHT),
        "variational": BetaElbo(1.0),
        "errors averaged": WassersteinLoss(WEIGHT),
    }
    scores: dict[str, list[tuple[float, float]]] = {name: [] for name in variants}
    draws = {}
    for seed in seeds:
        X, test = images.digits(seed)
        space = images.Components(X)
        for name, objective in variants.items():
            keys = jax.random.split(jax.random.key(seed), 4)
            model, conditional = images.parts(keys[0], X, gaussian(NOISE, trained=False), LATENT)
            trained = train(
                keys[1],
                model,
                conditional,
                jnp.asarray(X, jnp.float32),
                objective=objective,
                epochs=epochs,
                batch_size=64,
                learning_rate=3e-3,
                progress=False,
            )
            means, _ = images.codes(keys[2], trained.conditional, jnp.asarray(test, jnp.float32))
            error = float(np.mean(np.sum((np.asarray(images.decoded(trained.model, means)) - test) ** 2, 1)))
            fitted = ex_post(trained.model, images.codes(keys[2], trained.conditional, jnp.asarray(X, jnp.float32))[0])
            rows = np.asarray(images.drawn(keys[3], fitted, 1000))
            scores[name].append((error, space.distance(rows)))
            draws[name] = rows[:8]
    error, distance = ({n: float(np.mean([v[i] for v in values])) for n, values in scores.items()} for i in (0, 1))
    spread = float(np.std([v[1] for v in scores["variational"]], ddof=1))
    words = f"digits, {LATENT} latents, {epochs} epochs, mean of {len(seeds)} splits"
    where = f"{PAPER}, tables 1 and 2 (CelebA, other networks): competitive"
    return [
        Claim(
            "Squared error of a held-out row, unscented against variational "
            f"({error['errors averaged']:.3f} with errors averaged): {words}",
            where,
            error["unscented"],
            "< baseline",
            error["variational"],
            error["unscented"] < error["variational"],
        ),
        Claim(
            "Frechet distance in 20 components of 1,000 draws from a mixture fitted to the codes, the same "
            f"({distance['errors averaged']:.3f} with errors averaged; spread over splits {spread:.3f}): {words}",
            where,
            distance["unscented"],
            "< baseline",
            distance["variational"],
            distance["unscented"] < distance["variational"],
        ),
    ], draws


def _draw(draws: dict[str, np.ndarray], path: Path) -> None:
    """Draws of each variant, a row each."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 2.6), layout="constrained")
    axes = figure.subplots(len(draws), 8)
    for row, (name, rows) in zip(axes, draws.items(), strict=True):
        for ax, image in zip(row, rows, strict=True):
            ax.imshow(image.reshape(8, 8), cmap="gray_r", vmin=0, vmax=1)
            ax.set(xticks=[], yticks=[])
        row[0].set_ylabel(name, rotation=0, ha="right", va="center")
    figure.savefig(path)
