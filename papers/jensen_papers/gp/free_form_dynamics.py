"""P012: free-form variational inference for Gaussian-process state-space models.

What is claimed: with no form imposed on q(x, u, theta) but p(f | u), drawn from by stochastic-gradient HMC, the
dynamics and the latent states come out more accurate than by methods that factorise or linearise; and the inducing
variables can be integrated out. The six series of the paper are not redistributed; measured on the kink function of the
field, against a linear-Gaussian state-space model by maximum likelihood and mean-field variational inference in the
same model.
"""

import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jensen as jn
from jensen.core import PointPosterior
from jensen.families import MeanField
from jensen.gp.dynamics import CollapsedGPDynamics, GPDynamics
from jensen.gp.kernels import RBF
from jensen.gradient_estimators import StickingTheLanding
from jensen.objectives import NegativeElbo
from jensen_papers.result import Claim, Result

PAPER = "P012, abstract"
LENGTH, PROCESS = 120, 0.05
INDUCING = np.linspace(-3.6, 1.6, 15)
DRAWS = 80  # half of them kept, of each of four chains, 50 updates apart
SAMPLER = jn.algorithms.SGHMC(leaps=50, step_size=0.03)


def reproduce(full: bool = False, figure: Path | None = None) -> Result:
    """Measure the claims in double precision, and write a figure to `figure` if given; `full` adds noise and seeds."""
    began = time.perf_counter()
    with jax.enable_x64(True):
        claims = [_collapsed(), _random_walk(), *_kink(0.09, 2, 2000, figure)]
        if full:
            for noise in (0.09, 0.28):
                claims += _kink(noise, 5, 20_000, None)
    return Result("P012", "free-form-dynamics", time.perf_counter() - began, tuple(claims))


def kink(x: Any) -> Any:
    """0.8 + (x + 0.2) (1 - 5 / (1 + exp(-2 x)))."""
    return 0.8 + (x + 0.2) * (1 - 5 / (1 + np.exp(-2 * x)))


def series(noise: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """States and observations."""
    rng = np.random.default_rng(seed)
    x = [0.5]
    for _ in range(LENGTH - 1):
        x.append(kink(x[-1]) + PROCESS * rng.normal())
    return np.array(x), np.array(x) + noise * rng.normal(size=LENGTH)


def _given(kernel: Any, y: np.ndarray, observation: float, **other: Any) -> dict[str, Any]:
    """Arguments of a model, with the defaults of this paper."""
    return {"inducing": INDUCING, "process": PROCESS, **other, "kernel": kernel, "y": y, "observation": observation}


def _draws(target: Any, steps: int) -> Any:
    return jn.run(SAMPLER, target, key=jax.random.key(0), steps=steps, certify=False, progress=False).posterior


def _collapsed() -> Claim:
    """log p(x, theta) against log p(x, u, theta) integrated over u numerically."""
    _, y = series(0.09, 0)
    given = _given(RBF(1.0, 2.0), y[:12], 0.09, inducing=np.linspace(-3, 1, 3))
    free, collapsed = GPDynamics(**given), CollapsedGPDynamics(**given)
    z = jax.jit(lambda key: collapsed.start(key))(jax.random.key(0))
    parts = collapsed.space.split(z)

    def joint(u: Any) -> Any:
        return free.log_density(free.space.join({**parts, "u": u[None]}))

    # a grid of 21^3 points about the mode, spaced by 0.8 posterior standard deviations: exact to rounding
    axis = 0.8 * np.arange(-10, 11)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)

    @jax.jit
    def integrate(grid: Any) -> Any:
        phi, _ = free.features(free.hyperparameters.at(parts["theta"])["kernel"], parts["x"][:-1])
        precision = jnp.eye(3) + phi.T @ phi / PROCESS**2
        mode = jnp.linalg.solve(precision, phi.T @ jnp.diff(parts["x"][:, 0]) / PROCESS**2)
        root = jnp.linalg.inv(jnp.linalg.cholesky(precision)).T
        values = jax.lax.map(lambda e: joint(mode + root @ e), grid, batch_size=1000)
        return jax.nn.logsumexp(values) + 3 * np.log(0.8) + jnp.linalg.slogdet(root)[1]

    integral = integrate(grid)
    gap = abs(float(integral - jax.jit(lambda z: collapsed.log_density(z))(z)))
    return Claim(
        "Collapsed log density against the free-form one with u integrated on a grid, 3 inducing points (nats)",
        f"{PAPER}: inducing variables marginalised analytically",
        gap,
        "< 1e-8",
        None,
        gap < 1e-8,
    )


def _random_walk() -> Claim:
    """With f = 0 and known noise the posterior of x is Gaussian, and known."""
    rng = np.random.default_rng(5)
    y = np.cumsum(0.1 * rng.normal(size=LENGTH)) + 0.2 * rng.normal(size=LENGTH)
    given = _given(RBF(1.0, 1e-8), y, 0.2, process=0.1, prior_scale=1e-2)
    target = CollapsedGPDynamics(**given)
    chains = np.asarray(_draws(target, DRAWS // 2).chains)
    offset = list(target.space.split(jnp.arange(target.space.dimension, dtype=float))["x"][:, 0].astype(int))
    x = chains[..., offset]
    difference = np.diff(np.eye(LENGTH), axis=0)
    precision = difference.T @ difference / 0.1**2 + np.eye(LENGTH) / 0.2**2
    precision[0, 0] += 1.0
    linear = y / 0.2**2
    linear[0] += y[0]
    truth = np.linalg.solve(precision, linear)
    from blackjax.diagnostics import effective_sample_size

    effective = np.asarray(jax.jit(effective_sample_size)(jnp.asarray(x)))
    error = np.sqrt(np.diag(np.linalg.inv(precision)) / effective)
    worst = float(np.max(np.abs(x.mean((0, 1)) - truth) / error))
    return Claim(
        f"Posterior mean of {LENGTH} states for f = 0 against the exact smoother: largest error in standard errors",
        "Derived: linear-Gaussian case",
        worst,
        "< 5",
        None,
        worst < 5,
    )


def _kink(noise: float, seeds: int, steps: int, figure: Path | None) -> list[Claim]:
    """Error of the transition over the visited range, by three methods."""
    errors: dict[str, list[float]] = {"free": [], "mean field": [], "linear": []}
    covered = []
    for seed in range(seeds):
        x, y = series(noise, seed)
        grid = np.linspace(x.min(), x.max(), 60)
        given = _given(RBF(1.0, 4.0), y, noise)
        mean, low, high = _free(CollapsedGPDynamics(**given), grid)
        found = {"free": mean, "mean field": _mean_field(GPDynamics(**given), grid, steps), "linear": _linear(y, grid)}
        for name, estimate in found.items():
            errors[name].append(float(np.sqrt(np.mean((estimate - kink(grid)) ** 2))))
        covered.append(np.mean((low <= kink(grid)) & (kink(grid) <= high)))
        if seed == 0 and figure is not None:
            _draw(grid, found, low, high, x, figure)
    free, field, linear = (float(np.mean(errors[name])) for name in errors)
    share = float(np.mean(covered))
    words = f"RMSE of the transition over the visited range, kink, observation sd {noise:g}, {seeds} seeds, against"
    return [
        Claim(
            f"{words} a linear-Gaussian state-space model",
            f"{PAPER}: dynamics",
            free,
            "< baseline",
            linear,
            free < linear,
        ),
        Claim(
            f"{words} mean-field VI of the same model, {steps} steps",
            f"{PAPER}: over-simplified q",
            free,
            "< baseline",
            field,
            free < field,
        ),
        Claim(
            f"Coverage of the kink by 90 % bands, observation sd {noise:g}",
            "Derived: q is the posterior of the sparse model",
            share,
            "in [0.8, 1]",
            None,
            share >= 0.8,
        ),
    ]


def _free(target: CollapsedGPDynamics, grid: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and 90 % band of the transition, over draws of everything."""
    z = _draws(target, DRAWS).pooled
    mean, variance = jax.jit(jax.vmap(lambda z: target.transition(z, grid)))(z)
    noise = np.random.default_rng(0).normal(size=mean.shape)
    paths = np.asarray(mean + jnp.sqrt(variance) * noise)[..., 0]
    return np.asarray(mean[..., 0]).mean(0), *np.quantile(paths, [0.05, 0.95], axis=0)


def _mean_field(target: GPDynamics, grid: np.ndarray, steps: int) -> np.ndarray:
    objective = NegativeElbo(StickingTheLanding(1))
    algorithm = jn.algorithms.GradientVI(family=MeanField(), objective=objective, learning_rate=0.02)
    start = PointPosterior(target.space, target.start(jax.random.key(2)))
    q = jn.run(
        algorithm, target, key=jax.random.key(1), steps=steps, start=start, certify=False, progress=False
    ).posterior
    z = q.sample_z(jax.random.key(3), 200)
    return np.asarray(jax.jit(jax.vmap(lambda z: target.transition(z, grid)[0]))(z))[..., 0].mean(0)


def _linear(y: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """x' = a x + b by maximum likelihood, all of a, b and both noises free."""
    target = jn.targets.from_log_density(_kalman, np.zeros(4), jnp.asarray(y))
    start = PointPosterior(target.space, jnp.asarray([0.5, 0.0, np.log(0.5), np.log(0.2)]))
    best = jn.run(
        jn.algorithms.Mode(num_starts=1), target, key=jax.random.key(0), start=start, certify=False, progress=False
    ).posterior
    assert isinstance(best, PointPosterior)
    return float(best.z[0]) * grid + float(best.z[1])


def _kalman(theta: Any, y: Any) -> Any:
    """log p(y) of x' = a x + b + N(0, q), y = x + N(0, r), x_1 ~ N(0, 4); weak priors keep all finite."""
    a, b, q, r = theta[0], theta[1], jnp.exp(2 * theta[2]), jnp.exp(2 * theta[3])

    def step(state: Any, value: Any) -> Any:
        mean, variance = state
        total = variance + r
        gain = variance / total
        log_density = -0.5 * ((value - mean) ** 2 / total + jnp.log(2 * jnp.pi * total))
        mean, variance = mean + gain * (value - mean), (1 - gain) * variance
        return (a * mean + b, a**2 * variance + q), log_density

    _, values = jax.lax.scan(step, (jnp.zeros(()), 4.0 * jnp.ones(())), y)
    return jnp.sum(values) - 0.01 * jnp.sum(theta**2)


def _draw(grid: Any, found: dict[str, Any], low: Any, high: Any, x: Any, path: Path) -> None:
    """The transition, its band, and the other estimates."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.fill_between(grid, low, high, alpha=0.25, label="90 % band, free form")
    axes.plot(grid, kink(grid), color="black", label="truth")
    for name, estimate in found.items():
        axes.plot(grid, estimate, linewidth=1.2, label=name)
    axes.plot(x[:-1], x[1:], ".", markersize=3, color="grey")
    axes.set(xlabel="x at t", ylabel="x at t + 1")
    axes.legend(fontsize="small")
    figure.savefig(path)
