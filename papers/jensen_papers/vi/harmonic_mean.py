"""P366: the evidence from posterior draws by a learned harmonic mean, for pulsar timing arrays.

What is claimed: a normalizing flow fitted to posterior draws and concentrated makes the harmonic mean a sound
estimator of the evidence, so that models are compared without nested sampling: Bayes factors of MCMC are reproduced,
and Hellinger distances of the marginals stay below 0.3. The baseline is the plain harmonic mean. The pulsar data are
out of scope: a toy of the same form, red noise of unknown amplitude and slope, stands for them.
"""

import math
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jensen as jn
from jensen.algorithms import NUTS
from jensen.certificate import evidence_from_draws
from jensen.core import DrawsPosterior, in_batches
from jensen.families import Affine, Coupling, FlowBuilder, Pushforward, gaussian_from_cov
from jensen_papers.result import Claim, Result

PAPER = "P366, abstract"
METHOD = "Learned harmonic mean (McEwen et al. 2021; Polanska et al. 2024)"
FLOW = FlowBuilder(Coupling(Affine(), width=16, depth=1), num_layers=2)
LOG_2PI = math.log(2 * math.pi)


def reproduce(full: bool = False, figure: Path | None = None) -> Result:
    """Measure the claims in double precision, and write a figure to `figure` if given; `full` adds 20 dimensions."""
    began = time.perf_counter()
    with jax.enable_x64(True):
        errors: dict[str, np.ndarray] = {}
        claims = [*_regression(errors), *_red_noise()]
        if full:
            claims.append(_twenty())
    if figure is not None:
        _draw(errors, figure)
    return Result("P366", "harmonic-mean", time.perf_counter() - began, tuple(claims))


class Regression:
    """y ~ N(X beta, I), beta ~ N(0, I): log evidence and posterior in closed form."""

    def __init__(self, x: np.ndarray, y: np.ndarray):
        n, d = x.shape
        self.x, self.y = x, y
        cov = np.linalg.inv(x.T @ x + np.eye(d))
        self.posterior = gaussian_from_cov(jnp.asarray(cov @ x.T @ y), jnp.asarray(cov))
        gram = x @ x.T + np.eye(n)
        fit = y @ np.linalg.solve(gram, y) + np.linalg.slogdet(gram)[1]
        self.log_evidence = float(-0.5 * fit - 0.5 * n * LOG_2PI)
        self.target = jn.targets.from_log_density(_log_joint, np.zeros(d), x, y)

    def draws(self, seed: int, n: int) -> np.ndarray:
        """`n` exact posterior draws."""
        eps = np.random.default_rng(seed).normal(size=(n, self.x.shape[1]))
        return np.asarray(self.posterior.mean) + eps @ np.asarray(self.posterior.scale_tril).T

    def log_likelihood(self, beta: np.ndarray) -> np.ndarray:
        """Of each row of `beta`."""
        return -0.5 * np.sum((self.y - beta @ self.x.T) ** 2, 1) - 0.5 * len(self.y) * LOG_2PI


def _log_joint(beta: Any, x: Any, y: Any) -> Any:
    return -0.5 * jnp.sum((y - x @ beta) ** 2) - 0.5 * jnp.sum(beta**2) - 0.5 * (len(y) + len(beta)) * LOG_2PI


def _regression(errors: dict[str, np.ndarray], repeats: int = 20) -> list[Claim]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 5))
    y = x @ np.array([1.0, -0.5, 0.3, 0.8, 0.0]) + rng.normal(size=60)
    model, smaller = Regression(x, y), Regression(x[:, 1:], y)
    key = jax.random.key(0)
    for temperature in (0.5, 0.8, 1.0):
        found = [
            evidence_from_draws(key, model.draws(i, 5000), model.target, temperature=temperature).log_evidence
            for i in range(repeats)
        ]
        errors[f"T = {temperature:g}"] = np.array(found) - model.log_evidence
    plain = [-_log_mean_exp(-model.log_likelihood(model.draws(i, 5000))) for i in range(repeats)]
    errors["plain"] = np.array(plain) - model.log_evidence
    ours, baseline = (float(np.max(np.abs(errors[name]))) for name in ("T = 0.8", "plain"))
    by_flow = evidence_from_draws(key, model.draws(1, 5000), model.target, family=FLOW, steps=400)
    off = abs(by_flow.log_evidence - model.log_evidence)
    wide = gaussian_from_cov(model.posterior.mean, 2.5 * model.posterior.cov)
    flagged = evidence_from_draws(key, model.draws(2, 5000), model.target, family=wide)
    pair = [evidence_from_draws(key, m.draws(3, 5000), m.target).log_evidence for m in (model, smaller)]
    factor, truth = pair[0] - pair[1], model.log_evidence - smaller.log_evidence
    return [
        Claim(
            "Largest |error| of log Z (nats) over 20 repeats, regression with d = 5, phi Gaussian, T = 0.8, against "
            "the plain harmonic mean",
            METHOD,
            ours,
            "< 0.05",
            baseline,
            ours < 0.05,
        ),
        Claim("|error| of log Z by a flow, T = 0.8", METHOD, off, "< 0.1", baseline, off < 0.1),
        Claim(
            "Effective share of the draws for a phi of 2.5 times the covariance, which is flagged",
            "Derived: the variance of the weights is infinite for T >= 2",
            flagged.ess_share,
            "< 0.2, and k-hat or share fail",
            by_flow.ess_share,
            flagged.ess_share < 0.2 and not flagged.holds,
        ),
        Claim(
            f"Error of the log Bayes factor for a covariate ({truth:.2f} nats)",
            f"{PAPER}: MCMC Bayes factors reproduced",
            abs(factor - truth),
            "< 0.1, sign right",
            None,
            abs(factor - truth) < 0.1 and factor * truth > 0,
        ),
    ]


def _log_mean_exp(x: np.ndarray) -> float:
    return float(np.logaddexp.reduce(x) - math.log(len(x)))


def _red_noise() -> list[Claim]:
    """y = Fourier series of power A^2 f^-gamma plus white noise; unknown: log10 A and gamma, on boxes by a sigmoid."""
    rng = np.random.default_rng(1)
    t, frequencies = np.linspace(0.0, 1.0, 80), np.arange(1, 11)
    phases = 2 * np.pi * frequencies * t[:, None]
    basis = np.concatenate([np.sin(phases), np.cos(phases)], 1)
    power = np.tile((1.5 * frequencies ** (-3.0 / 2)) ** 2, 2)
    y = basis @ (np.sqrt(power) * rng.normal(size=20)) + 0.5 * rng.normal(size=80)
    target = jn.targets.from_log_density(_timing, np.zeros(2), basis, np.tile(frequencies.astype(float), 2), y)
    axis = np.linspace(-8, 8, 161)
    grid = jnp.asarray(np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2))
    values = np.asarray(jax.jit(lambda z: in_batches(target.log_density, z, 500))(grid))
    truth = float(np.logaddexp.reduce(values) + 2 * math.log(axis[1] - axis[0]))
    posterior = jn.run(NUTS(), target, key=jax.random.key(0), steps=800, certify=False, progress=False).posterior
    assert isinstance(posterior, DrawsPosterior)
    found = evidence_from_draws(jax.random.key(1), posterior.chains, target, family=FLOW, steps=400)
    assert isinstance(found.phi, Pushforward)
    image = np.asarray(jax.jit(jax.vmap(found.phi.bijection.sample))(jax.random.split(jax.random.key(2), 4000)))
    distance = max(_hellinger(a, b) for a, b in zip(image.T, np.asarray(posterior.pooled).T, strict=True))
    off = abs(found.log_evidence - truth)
    return [
        Claim(
            "|error| of log Z (nats) for red noise of unknown amplitude and slope, draws by NUTS, against quadrature",
            METHOD,
            off,
            "< 0.2",
            None,
            off < 0.2 and found.holds,
        ),
        Claim(
            "Largest Hellinger distance of a marginal of the fitted flow to the draws of NUTS",
            PAPER,
            distance,
            "< 0.3",
            None,
            distance < 0.3,
        ),
    ]


def _timing(z: Any, basis: Any, frequencies: Any, y: Any) -> Any:
    """log joint over unconstrained (log10 A, gamma), log10 A in (-2, 2) and gamma in (0, 7), both uniform."""
    share = jax.nn.sigmoid(z)
    log_amplitude, slope = (4 * share[0] - 2) * math.log(10), 7 * share[1]
    power = jnp.exp(2 * log_amplitude - slope * jnp.log(frequencies))
    # 0.25 I + B P B^T by its 20 x 20 capacitance, Woodbury's identity
    scaled = basis * jnp.sqrt(power) / 0.5
    tril = jnp.linalg.cholesky(jnp.eye(basis.shape[1]) + scaled.T @ scaled)
    white = jax.scipy.linalg.solve_triangular(tril, scaled.T @ y / 0.5, lower=True)
    log_det = jnp.sum(jnp.log(jnp.diagonal(tril))) + len(y) * math.log(0.5)
    jacobian = jnp.sum(jax.nn.log_sigmoid(z) + jax.nn.log_sigmoid(-z))  # of a uniform prior on each box
    return -0.5 * (jnp.sum(y**2) / 0.25 - jnp.sum(white**2)) - log_det - 0.5 * len(y) * LOG_2PI + jacobian


def _hellinger(a: np.ndarray, b: np.ndarray, bins: int = 40) -> float:
    """sqrt(1 - sum sqrt(p q)) of histograms over the common range."""
    edges = np.linspace(min(a.min(), b.min()), max(a.max(), b.max()), bins + 1)
    p, q = (np.histogram(x, edges)[0] / len(x) for x in (a, b))
    return float(np.sqrt(max(0.0, 1 - np.sum(np.sqrt(p * q)))))


def _twenty() -> Claim:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(200, 20)) @ (np.eye(20) + 0.5)
    model = Regression(x, x @ rng.normal(size=20) + rng.normal(size=200))
    posterior = jn.run(NUTS(), model.target, key=jax.random.key(0), certify=False, progress=False).posterior
    assert isinstance(posterior, DrawsPosterior)
    found = evidence_from_draws(jax.random.key(1), posterior.chains, model.target, family=FLOW, steps=3000)
    off = abs(found.log_evidence - model.log_evidence)
    return Claim(
        "|error| of log Z for a correlated posterior, d = 20, by NUTS and a flow", METHOD, off, "< 0.2", None, off < 0.2
    )


def _draw(errors: dict[str, np.ndarray], path: Path) -> None:
    """Errors of log Z over repeats."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.boxplot(list(errors.values()), tick_labels=list(errors))
    axes.axhline(0.0, color="black", linewidth=0.8)
    axes.set(ylabel="error of log Z (nats)", yscale="symlog")
    axes.set_yscale("symlog", linthresh=0.1)
    figure.savefig(path)
