"""P353: learning hyperparameters via a data-emphasised variational objective (Harvey, Petrov, Hughes 2024).

What is claimed: with the likelihood weighted by kappa = D / N in the ELBO, the variance of the prior of a model of far
more weights than rows is learned in closed form on all data, at the accuracy of a grid search of the strength of
regularisation with a held-out set; the plain ELBO underfits. Measured on the authors' kind of model, random Fourier
features and a softmax, on synthetic data of ten classes. The hours of their grid search on CIFAR-10 are not.
`--full` takes D = 10,240 weights and four seeds.
"""

import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jensen as jn
from jensen.families import DiagonalGaussian
from jensen.gradient_estimators import Reparameterisation
from jensen.objectives import DataEmphasisedElbo
from jensen_papers.result import Claim, Result

PAPER = "Harvey et al. (2024)"
CLASSES, ROWS, TEST, INPUTS = 10, 200, 2000, 8
STRENGTHS = np.logspace(-4, 2, 7)


def reproduce(full: bool = False, figure: Path | None = None) -> Result:
    """Measure the claims, and write a figure to `figure` if given; `full` takes more features and seeds."""
    began = time.perf_counter()
    features, seeds = (1024, range(4)) if full else (256, range(1))
    with jax.enable_x64(True):
        claims = _closed_form()
    with jax.enable_x64(False):
        scores = [_scores(seed, features) for seed in seeds]
    mean = {name: float(np.mean([s[name] for s in scores])) for name in scores[0]}
    if figure is not None:
        _draw(mean, figure)
    where = f"{PAPER}, accuracy against the plain ELBO and grid search; no table of this model"
    ours = mean["data-emphasised"]
    gain, behind = ours - mean["ELBO"], mean["grid search"] - ours
    words = f"Test accuracy, {CLASSES * features} weights and {ROWS} rows"
    claims += [
        Claim(f"{words}, against the plain ELBO", where, ours, ">= baseline + 0.04", mean["ELBO"], gain >= 0.04),
        Claim(f"{words}, against grid search", where, ours, ">= baseline - 0.03", mean["grid search"], behind <= 0.03),
    ]
    return Result("P353", "data-emphasised", time.perf_counter() - began, tuple(claims))


def _closed_form() -> list[Claim]:
    """The derivative of KL(q || N(mu, v I)) by log v at the variance that the objective takes."""
    rng = np.random.default_rng(0)
    q = DiagonalGaussian(jnp.asarray(rng.normal(size=50)), jnp.asarray(rng.normal(size=50)))
    objective = DataEmphasisedElbo()

    def divergence(log_v: Any) -> Any:
        second = q.mean**2 + jnp.exp(2 * q.log_scale)
        return 0.5 * jnp.sum(second / jnp.exp(log_v) - 1 + log_v - 2 * q.log_scale)

    best = jnp.log(objective.prior_variance(q)[0])
    slope = abs(float(jax.grad(divergence)(best)))
    gap = abs(float(objective.divergence(q) - divergence(best)))
    where = f"{PAPER}, closed-form prior variance"
    return [
        Claim("Slope of KL(q || prior) by log v at the learned v", where, slope, "< 1e-10", None, slope < 1e-10),
        Claim("Distance of the profiled divergence from KL at that v, nats", where, gap, "< 1e-10", None, gap < 1e-10),
    ]


def _data(seed: int, features: int) -> tuple[Any, Any, Any, Any]:
    """Ten Gaussian clusters of two centres each, as random Fourier features of length-scale one."""
    rng = np.random.default_rng(seed)
    centres = 1.5 * rng.normal(size=(CLASSES, 2, INPUTS))
    frequencies, phases = rng.normal(size=(features, INPUTS)) / 3.0, rng.uniform(0, 2 * np.pi, features)

    def draw(n: int) -> tuple[Any, Any]:
        y = rng.integers(CLASSES, size=n)
        x = centres[y, rng.integers(2, size=n)] + 0.7 * rng.normal(size=(n, INPUTS))
        phi = np.sqrt(2 / features) * np.cos(x @ frequencies.T + phases)
        return phi.astype(np.float32), y.astype(np.int32)

    return *draw(ROWS), *draw(TEST)


def _log_prior(w: Any) -> Any:
    return -0.5 * jnp.sum(w**2)


def _log_likelihood(w: Any, rows: Any) -> Any:
    phi, y = rows
    logits = phi @ w
    return jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], axis=1)[:, 0]


def _accuracy(w: Any, phi: Any, y: Any) -> float:
    return float(np.mean(np.argmax(phi @ np.asarray(w), axis=1) == y))


def _scores(seed: int, features: int) -> dict[str, float]:
    """Test accuracies of the mean weights under kappa = D / N and 1, and of the best of a grid on a fifth held out."""
    phi, y, phi_test, y_test = _data(seed, features)
    example = np.zeros((features, CLASSES), np.float32)
    target = jn.targets.from_rows(_log_prior, _log_likelihood, (phi, y), example)
    d = example.size
    start = DiagonalGaussian(jnp.zeros(d), jnp.full(d, -4.0))
    scores = {}
    for name, kappa in (("data-emphasised", d / ROWS), ("ELBO", 1.0)):
        objective = DataEmphasisedElbo(kappa, estimator=Reparameterisation(num_draws=1))
        algorithm = jn.algorithms.GradientVI(family=start, objective=objective, learning_rate=0.05)
        fit = jn.run(algorithm, target, key=jax.random.key(seed), steps=600, certify=False, progress=False)
        q: Any = fit.posterior.q  # pyright: ignore[reportAttributeAccessIssue]
        scores[name] = _accuracy(q.mean.reshape(features, CLASSES), phi_test, y_test)
    return scores | {"grid search": _grid_search(phi, y, phi_test, y_test)}


@jax.jit
def _penalised(strength: Any, phi: Any, y: Any) -> Any:
    """The mode of the likelihood with |w|^2 strength / 2, by 400 steps of Adam."""
    import optax

    adam = optax.adam(0.1)
    loss = lambda w: -jnp.sum(_log_likelihood(w, (phi, y))) + 0.5 * strength * jnp.sum(w**2)  # noqa: E731

    def step(carry: Any, _: Any) -> Any:
        w, state = carry
        updates, state = adam.update(jax.grad(loss)(w), state)
        return (w + updates, state), None

    w = jnp.zeros((phi.shape[1], CLASSES), phi.dtype)
    return jax.lax.scan(step, (w, adam.init(w)), None, length=400)[0][0]


def _grid_search(phi: Any, y: Any, phi_test: Any, y_test: Any) -> float:
    """The strength that is best on the last fifth of the rows, then fitted to all of them."""
    cut = ROWS * 4 // 5
    held = [_accuracy(_penalised(s, phi[:cut], y[:cut]), phi[cut:], y[cut:]) for s in STRENGTHS]
    return _accuracy(_penalised(STRENGTHS[int(np.argmax(held))], phi, y), phi_test, y_test)


def _draw(mean: dict[str, float], path: Path) -> None:
    """Test accuracies."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.barh(list(mean), list(mean.values()))
    axes.set(xlim=(0, 1), xlabel="test accuracy", title="More weights than rows")
    figure.savefig(path)
