"""P064: diffusion variational autoencoders (Perez Rey, Menkovski and Portegies, 2020).

What is claimed: with Brownian motion on a closed manifold as the posterior family, whose draws and divergence are cheap
and right for small times, an autoencoder can take the topology of its data, which no Euclidean latent can. Baselines:
exact heat kernels by their series; a Gaussian autoencoder of the same dimension and networks on data that are a circle
(quick) or a torus and binarised MNIST (`--full`). The table of the row for SO(3) held volume and curvature of half the
metric; here they are those of the metric in which the walk moves, and measured.
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
from jensen.vae import (
    BrownianElbo,
    BrownianHead,
    BrownianMotion,
    EmbeddedTorus,
    FlatTorus,
    LatentModel,
    MeanField,
    ProjectiveSpace,
    RotationGroup,
    Sphere,
    StandardNormal,
    Symmetrised,
    UniformOn,
    heat_kernel_divergence,
    log_likelihood_bound,
    perceptron_decoder,
    perceptron_encoder,
    train,
)
from jensen_papers.result import Claim, Result

PAPER = "Perez Rey, Menkovski and Portegies (2020)"
PIXELS, SHARP = 16, 4.0  # of the image of a bump on a circle


def reproduce(full: bool = False, figure: Path | None = None) -> Result:
    """Measure the claims, and write a figure to `figure` if given; `full` adds shifts in two directions and MNIST."""
    began = time.perf_counter()
    with jax.enable_x64(True):
        claims = [*_divergences(), *_walks()]
    with jax.enable_x64(False):
        circle, curves = _circle()
        claims += circle
        if full:
            claims += [*_torus(), *_mnist()]
    if figure is not None:
        _draw(curves, figure)
    return Result("P064", "diffusion-autoencoder", time.perf_counter() - began, tuple(claims))


def _series(name: str, t: float) -> float:
    """KL of the exact heat kernel from uniform, by quadrature over the angle."""
    angle = np.pi * (np.arange(4000) + 0.5) / 4000
    n = np.arange(1, 400)[:, None]
    if name == "S1":
        ratio = 1 + 2 * np.sum(np.exp(-(n**2) * t / 2) * np.cos(n * angle), 0)
        share = np.full_like(angle, 1 / np.pi)
    elif name == "S2":
        weights = (2 * np.arange(400) + 1) * np.exp(-np.arange(400) * np.arange(1, 401) * t / 2)
        ratio = np.polynomial.legendre.legval(np.cos(angle), weights)
        share = 0.5 * np.sin(angle)
    elif name == "S3":
        ratio = np.sum(n * np.exp(-(n**2 - 1) * t / 2) * np.sin(n * angle), 0) / np.sin(angle)
        share = 2 / np.pi * np.sin(angle) ** 2
    else:  # SO(3), of representations of dimension 2 l + 1
        odd = 2 * n - 1
        terms = odd * np.exp(-n * (n - 1) * t / 4) * np.sin(odd * angle / 2)
        ratio = np.sum(terms, 0) / np.sin(angle / 2)
        share = (1 - np.cos(angle)) / np.pi
    ratio = np.maximum(ratio, 1e-300)
    return float(np.sum(share * ratio * np.log(ratio)) * (angle[1] - angle[0]))


def _divergences() -> list[Claim]:
    """The expansion of the divergence for small times against the exact series."""
    cases = (
        ("S1", FlatTorus(1), (0.02, 0.1, 0.5), 1e-4),
        ("S2", Sphere(2), (0.02, 0.1, 0.2), 1e-3),
        ("S3", Sphere(3), (0.02, 0.05, 0.1), 1e-3),
        ("SO(3)", RotationGroup(), (0.1, 0.4, 0.8), 1e-3),
    )
    claims = []
    for name, manifold, times, bound in cases:
        z = manifold.sample(jax.random.key(0))
        off = max(abs(float(heat_kernel_divergence(manifold, z, jnp.asarray(t))) - _series(name, t)) for t in times)
        words = f"Largest error of the expansion of KL(heat kernel, uniform) on {name}, nats, times up to {times[-1]:g}"
        where = f"{PAPER}, their asymptotic divergence; the exact heat kernel by its series"
        claims.append(Claim(words, where, off, f"< {bound:g}", None, off < bound))
    return claims


@eqx.filter_jit
def _alignment(key: Any, q: Any, num: int) -> Any:
    z = jax.vmap(q.sample)(jax.random.split(key, num)) @ q.mean
    return jnp.mean(z), jnp.std(z)


def _walks(num: int = 100_000, t: float = 0.2) -> list[Claim]:
    """E <z, mean> = exp(-d t / 2) on S^d, and 3 exp(-t / 2) on SO(3); the walk's bias is of order t / steps."""
    claims, errors = [], {}
    for manifold, truth, steps in (
        (Sphere(2), np.exp(-t), (1, 10)),
        (RotationGroup(), 3 * np.exp(-t / 2), (10,)),
    ):
        start = manifold.sample(jax.random.key(1))
        for n in steps:
            q = BrownianMotion(manifold, start, jnp.log(jnp.asarray(t)), n)
            mean, spread = (float(v) for v in _alignment(jax.random.key(2), q, num))
            errors[type(manifold).__name__, n] = abs(mean - truth), spread / np.sqrt(num)
    where = f"{PAPER}, their walk; the first eigenvalue of the Laplacian"
    for name, words, bias in (("Sphere", "S2, baseline one step", 3e-3), ("RotationGroup", "SO(3)", 6e-3)):
        error, noise = errors[name, 10]
        bound, coarse = bias + 5 * noise, errors.get((name, 1), (None,))[0]
        words = f"|E <z, mean> - exact| of a walk of 10 steps, time {t:g}, {num} draws, on {words}"
        claims.append(Claim(words, where, error, f"< {bound:.2g}", coarse, error < bound))
    return claims


def _bumps(angles: np.ndarray) -> np.ndarray:
    """Images of a bump on a circle of pixels, shape (angles, PIXELS)."""
    places = 2 * np.pi * np.arange(PIXELS) / PIXELS
    return np.exp(SHARP * (np.cos(places - angles[:, None]) - 1))


def _parts(key: Any, X: Any, head: Any, prior: Any, hidden: tuple[int, ...], likelihood: Any) -> Any:
    keys = jax.random.split(key)
    decoder: Any = perceptron_decoder(keys[0], prior.dimension, hidden, jnp.asarray(likelihood.initial(np.asarray(X))))
    even = isinstance(getattr(prior, "manifold", None), ProjectiveSpace)
    model = LatentModel(prior, Symmetrised(decoder) if even else decoder, likelihood)
    encoder = perceptron_encoder(keys[1], X.mean(0), jnp.ones(X.shape[1]), hidden, head.context)
    return model, Encoded(encoder, head)


@eqx.filter_jit
def _through(model: Any, conditional: Any, X: Any) -> tuple[Any, Any]:
    codes = jax.vmap(lambda x: conditional.given(x).mean)(X)
    return codes, jax.vmap(model.reconstruct)(codes)


def _trained(
    seed: int, X: Any, manifold: Any, latent: int, hidden: tuple[int, ...], likelihood: Any, **settings: Any
) -> Any:
    """An autoencoder on a manifold, or a Gaussian one with `latent` latents where that is None."""
    keys = jax.random.split(jax.random.key(seed))
    head: Any = MeanField(latent) if manifold is None else BrownianHead(manifold)
    prior: Any = StandardNormal(latent) if manifold is None else UniformOn(manifold)
    objective = None if manifold is None else BrownianElbo()
    model, conditional = _parts(keys[0], X, head, prior, hidden, likelihood)
    return train(keys[1], model, conditional, X, objective=objective, **settings)


def _shapes(X: Any, manifold: Any, latent: int, hidden: tuple[int, ...], **settings: Any) -> Any:
    """Codes, reconstructions, their largest error and the bound (nats a row) on both latents; the better of two starts.

    About one start in six ends in a fold of the circle, which no small step undoes.
    """
    likelihood = jn.vae.likelihoods.gaussian(0.1, trained=False)
    found = []
    for kind in (manifold, None):
        runs = [_trained(seed, X, kind, latent, hidden, likelihood, **settings) for seed in range(2)]
        bounds = [-float(np.mean(run.run.history.objective[-200:])) / len(X) for run in runs]
        best = runs[int(np.argmax(bounds))]
        codes, back = (np.asarray(v) for v in _through(best.model, best.conditional, X))
        found.append((codes, back, float(np.max(np.linalg.norm(back - np.asarray(X), axis=1))), max(bounds)))
    return found


def _winding(angles: np.ndarray) -> float:
    """Turns of a closed sequence of angles."""
    steps = np.diff(np.append(angles, angles[0]))
    return float(np.sum((steps + np.pi) % (2 * np.pi) - np.pi) / (2 * np.pi))


def _circle(epochs: int = 80, rows: int = 512, batch: int = 64) -> tuple[list[Claim], Any]:
    """Images of a bump at an angle, a closed curve: latents on a circle and on a line, same networks."""
    X = jnp.asarray(_bumps(2 * np.pi * np.arange(rows) / rows))
    settings: Any = dict(epochs=epochs, batch_size=batch, learning_rate=3e-3)
    circle, line = _shapes(X, FlatTorus(1), 1, (64, 64), **settings)
    winding = _winding(np.arctan2(circle[0][:, 1], circle[0][:, 0]))
    half = 0.5 * float(np.min(np.linalg.norm(np.asarray(X) - np.roll(np.asarray(X), rows // 2, 0), axis=1)))
    words = f"images of a bump at {rows} angles, {PIXELS} pixels, one latent dimension, better of two starts"
    where = f"{PAPER}, abstract: topological obstructions are removed"
    opposite = "Derived: Borsuk and Ulam; half the distance of two opposite images"
    error = f"Largest |decode(encode(x)) - x|, {words}"
    low, turns = 0.25 * half, round(abs(winding), 4)
    return [
        Claim(f"|winding number| of the codes on the circle, {words}", where, turns, "= 1", None, turns == 1),
        Claim(f"{error}, circle against line", where, circle[2], f"< {low:.2g}", line[2], circle[2] < low),
        Claim(f"{error}, line", opposite, line[2], f">= {half:.3g}", None, line[2] >= half),
        Claim(f"Bound (nats a row, all constants), {words}", where, circle[3], "> line", line[3], circle[3] > line[3]),
    ], (np.asarray(X), circle, line)


def _torus(epochs: int = 200, side: int = 24) -> list[Claim]:
    """Images of a bump shifted in two directions, a torus: latents on one and in the plane."""
    angles = 2 * np.pi * np.arange(side) / side
    line = _bumps(angles)[:, ::2]
    X = jnp.asarray((line[:, None, :, None] * line[None, :, None, :]).reshape(side**2, -1))
    settings: Any = dict(epochs=epochs, batch_size=64, learning_rate=3e-3)
    torus, plane = _shapes(X, FlatTorus(2), 2, (64, 64), **settings)
    words = f"largest |decode(encode(x)) - x|, latents on a flat torus against the plane, {side**2} images of 8 x 8"
    where = f"{PAPER}: topological properties of synthetic data are captured"
    return [Claim(words, where, torus[2], "< baseline / 2", plane[2], torus[2] < plane[2] / 2)]


def _mnist(epochs: int = 60, rows: int = 50_000, held: int = 2000, draws: int = 1000) -> list[Claim]:
    """Binarised MNIST on each manifold: the importance-weighted value beside that of independent pixels."""
    data = jn.datasets.load("binarized_mnist")
    X, test = (jnp.asarray(np.asarray(data[n]).reshape(-1, 784), jnp.float32) for n in ("train", "test"))
    X, test = X[:rows], test[:held]
    likelihood = jn.vae.likelihoods.Bernoulli()
    share = np.clip(np.asarray(X).mean(0), 1e-3, 1 - 1e-3)
    apart = float(np.mean(np.asarray(test) @ np.log(share) + (1 - np.asarray(test)) @ np.log1p(-share)))
    claims = []
    for name, manifold in (
        ("S2", Sphere(2)),
        ("RP2", ProjectiveSpace(2)),
        ("flat torus", FlatTorus(2)),
        ("torus in R3", EmbeddedTorus()),
        ("SO(3)", RotationGroup()),
        ("R2", None),
    ):
        trained = _trained(0, X, manifold, 2, (500,), likelihood, epochs=epochs, batch_size=256)
        key = jax.random.key(3)
        value = float(jnp.mean(log_likelihood_bound(key, trained.model, trained.conditional, test, draws)))
        words = f"Importance-weighted value ({draws} draws, nats a row), binarised MNIST, latents on {name}"
        where = f"{PAPER}: MNIST trained on manifolds; no table seen. Baseline: independent pixels"
        claims.append(Claim(words, where, value, "> baseline + 20", apart, value > apart + 20))
    return claims


def _draw(curves: Any, path: Path) -> None:
    """Codes of the closed curve of images, and the error of reconstructions along it."""
    from matplotlib.figure import Figure

    X, circle, line = curves
    angles = np.linspace(0, 360, len(X), endpoint=False)
    figure = Figure(figsize=(8, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    turned = np.degrees(np.unwrap(np.arctan2(circle[0][:, 1], circle[0][:, 0])))
    left.plot(angles, turned, label="circle: angle of the code, degrees")
    left.plot(angles, 100 * line[0][:, 0], label="line: code x 100")
    left.set(xlabel="angle of the image", ylabel="code")
    left.legend()
    for name, found in (("circle", circle), ("line", line)):
        right.semilogy(angles, np.linalg.norm(found[1] - X, axis=1), label=name)
    right.set(xlabel="angle of the image", ylabel="|decode(encode(x)) - x|")
    right.legend()
    figure.savefig(path)
