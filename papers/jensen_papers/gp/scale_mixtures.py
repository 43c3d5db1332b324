"""P168: scale mixtures of neural network Gaussian processes (Lee, Yun, Yang and Lee 2022).

What is claimed: with a prior on the variance of the last layer's weights, networks of infinite width are a scale
mixture of Gaussian processes, a Student-t process for an inverse-gamma prior, and infer in closed form, or by
importance weights for any other prior; such a posterior is robust where functions differ in scale. The baseline is
the Gaussian process of the same kernel. `--full` adds two tables of the UCI repository.
"""

import dataclasses
import math
import time
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.integrate
import scipy.stats

import jensen as jn
from jensen.families import MultivariateStudentT, NormalScaleMixture
from jensen.gp import EvidenceTarget
from jensen.gp.infinite_width import NNGP, RandomNetwork, ScaledByPrior, Smooth, draw_networks
from jensen.gp.student_t_process import ScaleMixtureProcess, StudentTProcess
from jensen_papers.result import Claim, Result

PAPER = "Lee et al. (2022)"
ROWS, NEW, SETS = 20, 20, 50
A, B = 2.0, 2.0


def reproduce(full: bool = False, figure: Path | None = None) -> Result:
    """Measure the claims in double precision, and write a figure to `figure` if given; `full` adds UCI tables."""
    began = time.perf_counter()
    with jax.enable_x64(True):
        distances: dict[str, np.ndarray] = {}
        claims = [*_closed_forms(), *_networks(distances), *_scales(), _importance()]
        if full:
            claims += [_table("uci/boston"), _table("uci/yacht")]
    if figure is not None:
        _draw(distances, figure)
    return Result("P168", "scale-mixtures", time.perf_counter() - began, tuple(claims))


@eqx.filter_jit
def _log_predictive(process: StudentTProcess | ScaleMixtureProcess, x: jax.Array, y: jax.Array, n: int) -> jax.Array:
    """log p(y_n.. | y_..n), jointly."""
    return _given_first(process.prior(x), y, n)


def _given_first(prior: MultivariateStudentT | NormalScaleMixture, y: jax.Array, n: int) -> jax.Array:
    # the factor of the first n rows is the leading block of that of all
    first = dataclasses.replace(prior, mean=prior.mean[:n], scale_tril=prior.scale_tril[:n, :n])
    return prior.log_prob(y) - first.log_prob(y[:n])


@eqx.filter_jit
def _log_evidence(process: StudentTProcess | ScaleMixtureProcess, x: jax.Array, y: jax.Array) -> jax.Array:
    return process.log_evidence(x, y)


def _fixed_scale(kernel: NNGP, scale: jax.Array | float, noise: float = 0.1) -> ScaleMixtureProcess:
    """The Gaussian process of a known scale."""
    return ScaleMixtureProcess(kernel, jnp.log(jnp.asarray(scale))[None], jnp.zeros(1), noise)


def _closed_forms() -> list[Claim]:
    rng = np.random.default_rng(0)
    x, y = jnp.asarray(rng.normal(size=(12, 2))), jnp.asarray(rng.normal(size=12))
    process = StudentTProcess(NNGP(depth=2), shape=A, rate=B)

    def by_quadrature(n: int) -> float:
        # log N(y; 0, s C) at s = 1 and at s = 4 give the square and the determinant of C
        white, wide = (float(_log_evidence(_fixed_scale(process.kernel, s), x[:n], y[:n])) for s in (1.0, 4.0))
        square = 8 / 3 * (wide - white + 0.5 * n * math.log(4))
        prior: Any = scipy.stats.invgamma(A, scale=B)

        def integrand(t: float) -> float:  # over t = log s, relative to the value at s = 1
            return prior.pdf(math.exp(t)) * math.exp(t - 0.5 * (square * math.expm1(-t) + n * t))

        return white + math.log(scipy.integrate.quad(integrand, -8, 14, epsabs=1e-14, epsrel=1e-12, limit=500)[0])

    evidence = abs(float(_log_evidence(process, x, y)) - by_quadrature(12))
    found = process.predict(x[:8], y[:8], x[8:]).log_prob(y[8:])
    predictive = abs(float(found) - (by_quadrature(12) - by_quadrature(8)))
    where = f"{PAPER}, inverse-gamma prior; derived"
    return [
        Claim("|error| of the log evidence (nats)", where, evidence, "< 1e-8", None, evidence < 1e-8),
        Claim("|error| of a joint log predictive (nats)", where, predictive, "< 1e-8", None, predictive < 1e-8),
    ]


def _networks(distances: dict[str, np.ndarray], count: int = 4000) -> list[Claim]:
    x = jnp.asarray([[1.0, 0.2], [-0.5, 1.0], [0.3, -1.5]])
    claims = []
    for name, kernel in (
        ("ReLU", NNGP(depth=2, bias_variance=0.0)),
        ("tanh", NNGP(Smooth(jnp.tanh), depth=2, weight_variance=1.5, bias_variance=0.0)),
    ):
        with jax.enable_x64(False):  # for speed
            scaled = ScaledByPrior(shape=A, rate=B)
            w = float(kernel.weight_variance)
            network = RandomNetwork(
                kernel.activation, readout=scaled, width=1000, depth=2, weight_variance=w, bias_variance=0.0
            )
            draw = jax.jit(lambda key, x, network=network: draw_networks(key, network, x, count))
            f = np.asarray(draw(jax.random.key(0), jnp.asarray(x, jnp.float32)), float)[..., 0]
        square = np.sum(f * np.linalg.solve(np.asarray(kernel(x, x)), f.T).T, axis=1)
        distances[name] = square / 3
        heavy = float(scipy.stats.kstest(square / 3, scipy.stats.f(3, 2 * A).cdf).pvalue)
        normal = float(scipy.stats.kstest(square, scipy.stats.chi2(3).cdf).pvalue)
        claims.append(
            Claim(
                f"P-value of F(3, {2 * A:g}) for d^2 / 3 at three inputs, {count} {name} networks of width 1000 with "
                f"last-layer variance InverseGamma({A:g}, {B:g}); baseline: chi2(3), the Gaussian process",
                f"{PAPER}: Student's t processes are recovered",
                heavy,
                "> 0.01, and baseline < 1e-6",
                normal,
                heavy > 0.01 and normal < 1e-6,
            )
        )
    return claims


def _functions(seed: int, a: float, b: float) -> tuple[np.ndarray, np.ndarray]:
    """Inputs of `SETS` sets, and white noise times the root of each set's own scale."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(SETS, ROWS + NEW, 2))
    return x, rng.normal(size=(SETS, ROWS + NEW)) * np.sqrt(b / rng.gamma(a, size=(SETS, 1)))


def _scales() -> list[Claim]:
    kernel = NNGP(depth=2)

    def scores(x: jax.Array, white: jax.Array, a: float, scale: float) -> jax.Array:
        heavy = StudentTProcess(kernel, shape=a, rate=a).prior(x)
        y = heavy.scale_tril @ white  # for a = b the scale matrix is C

        def normal(scale: float | jax.Array) -> NormalScaleMixture:
            return NormalScaleMixture(heavy.mean, heavy.scale_tril, jnp.log(scale)[None], jnp.zeros(1))

        laws = (heavy, normal(jnp.asarray(scale)), normal(jnp.mean(white[:ROWS] ** 2)))
        return jnp.stack([_given_first(law, y, ROWS) for law in laws])

    of_sets = jax.jit(jax.vmap(scores, (0, 0, None, None)))
    heavy = np.asarray(of_sets(*_functions(1, A, B), A, B / (A - 1)))
    known = np.asarray(of_sets(*_functions(2, 1e4, 1e4), 1e4, 1.0))
    gain = heavy[:, 0] - heavy[:, 1]
    mean, error = float(gain.mean()), float(gain.std(ddof=1) / math.sqrt(SETS))
    fitted = float((heavy[:, 0] - heavy[:, 2]).mean())
    apart = float(np.max(np.abs(known[:, 0] - known[:, 1])))
    what = f"of {NEW} values given {ROWS}, mean of {SETS} functions"
    return [
        Claim(
            f"Gain in joint held-out log likelihood (nats) {what} whose scales are InverseGamma({A:g}, {B:g}), over "
            "the Gaussian process at the prior mean of the scale; baseline: two standard errors",
            f"{PAPER}: robustness",
            mean,
            "> 2 standard errors",
            2 * error,
            mean > 2 * error,
        ),
        Claim(
            "The same over the Gaussian process whose scale is fitted to each function",
            f"{PAPER}: robustness",
            fitted,
            "> 0",
            0.0,
            fitted > 0,
        ),
        Claim(
            f"Largest |difference| to the Gaussian process (nats) for a = b = 1e4, {SETS} functions",
            "Derived: the scale is known",
            apart,
            "< 0.05",
            None,
            apart < 0.05,
        ),
    ]


def _importance(draws: int = 100_000) -> Claim:
    rng = np.random.default_rng(3)
    x, y = jnp.asarray(rng.normal(size=(12, 2))), jnp.asarray(rng.normal(size=12))
    kernel = NNGP(depth=2)
    scales = B / jnp.asarray(rng.gamma(A, size=draws))
    mixture = ScaleMixtureProcess(kernel, jnp.log(scales), jnp.zeros(draws))
    found = float(_log_predictive(mixture, x, y, 8))
    truth = float(_log_predictive(StudentTProcess(kernel, shape=A, rate=B), x, y, 8))

    def ratios(n: int) -> np.ndarray:
        prior = mixture.prior(x[:n])
        square = np.sum(np.asarray(jax.scipy.linalg.solve_triangular(prior.scale_tril, y[:n], lower=True)) ** 2)
        logs = -0.5 * (square / np.asarray(scales) + n * np.log(np.asarray(scales)))
        weights = np.exp(logs - logs.max())
        return weights / weights.mean()

    # the delta method for a ratio of two means over the same draws
    error = float(np.std(ratios(12) - ratios(8))) / math.sqrt(draws)
    return Claim(
        f"|error| of a joint log predictive by importance weights over {draws} draws of the scale, in standard errors",
        f"{PAPER}, inference for any prior of the scale",
        abs(found - truth) / error,
        "< 3",
        None,
        abs(found - truth) < 3 * error,
    )


def _table(name: str, splits: int = 10) -> Claim:
    """Held-out negative log likelihood a row, hyperparameters by the evidence, the splits of Gal."""
    data = jn.datasets.load(name)
    x, y = np.asarray(data["X"], float), np.asarray(data["y"], float)
    found = []
    for held in data["test_idx"][:splits]:
        held = np.asarray(held)[np.asarray(held) >= 0].astype(int)
        kept = np.setdiff1d(np.arange(len(y)), held)
        centre, width = x[kept].mean(0), x[kept].std(0) + 1e-12
        mean, spread = y[kept].mean(), y[kept].std()
        rows = np.concatenate([kept, held])
        inputs, outputs = jnp.asarray((x[rows] - centre) / width), jnp.asarray((y[rows] - mean) / spread)
        scores = []
        for process in (StudentTProcess(NNGP(depth=3)), _fixed_scale(NNGP(depth=3), 1.0)):
            trained = _train(process, inputs[: len(kept)], outputs[: len(kept)])
            scores.append(-float(_log_predictive(trained, inputs, outputs, len(kept))) / len(held) + math.log(spread))
        found.append(scores)
    ours, baseline = np.array(found).T
    difference = ours - baseline
    error = difference.std(ddof=1) / math.sqrt(len(difference))
    return Claim(
        f"Joint test negative log likelihood a row (nats), {name}, {splits} splits, against the Gaussian process",
        f"{PAPER}, regression tables",
        float(ours.mean()),
        "<= baseline + 2 standard errors of the difference",
        float(baseline.mean()),
        bool(difference.mean() <= 2 * error),
    )


def _evidence(process: StudentTProcess | ScaleMixtureProcess, x: jax.Array, y: jax.Array) -> jax.Array:
    return process.log_evidence(x, y)


def _train(
    process: StudentTProcess | ScaleMixtureProcess, x: jax.Array, y: jax.Array
) -> StudentTProcess | ScaleMixtureProcess:
    """Hyperparameters of the largest evidence, under a wide normal prior of their logarithms."""
    target = EvidenceTarget(_evidence, process, x, y)
    start = jn.core.PointPosterior(target.space, target.hyperparameters.theta)
    mode = jn.algorithms.Mode(num_starts=1, tolerance=1e-2)
    fit = jn.run(mode, target, key=jax.random.key(0), steps=60, start=start, certify=False, progress=False)
    return target.hyperparameters.at(fit.posterior.mean_and_cov()[0])


def _draw(distances: dict[str, np.ndarray], path: Path) -> None:
    """Quantiles of the squared distance of networks against those of the two limits."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.4), layout="constrained")
    axes = figure.subplots()
    shares = np.linspace(0.005, 0.995, 200)
    exact = scipy.stats.f(3, 2 * A).ppf(shares)
    for name, values in distances.items():
        axes.loglog(exact, np.quantile(values, shares), ".", markersize=3, label=f"{name} networks")
    axes.loglog(exact, exact, "k-", linewidth=0.8, label=f"F(3, {2 * A:g})")
    axes.loglog(exact, scipy.stats.chi2(3).ppf(shares) / 3, "k--", linewidth=0.8, label="chi2(3) / 3")
    axes.set(xlabel="quantile of the Student-t process", ylabel="quantile of squared distance / 3")
    axes.legend()
    figure.savefig(path)
