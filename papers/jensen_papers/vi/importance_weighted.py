"""P100: importance weighted autoencoders (Burda, Grosse, Salakhutdinov 2016).

What is claimed: with K importance weights the bound rises with K, stays below the log evidence, and comes to it; at
q = posterior it is the log evidence for every K. Measured on a linear Gaussian model, whose evidence is known. The
gradient's two forms (plain, and doubly reparameterised, Tucker et al. 2019) are compared. `--full` takes more draws and
trains autoencoders of small binary digits by one weight and by fifty; the table of MNIST is `jensen bench mnist_curve`.
"""

import math
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jensen as jn
from jensen.core import sample_many
from jensen.families import Gaussian, gaussian_from_cov
from jensen.gradient_estimators import DoublyReparameterised, Reparameterisation, gradient_noise
from jensen.objectives import ImportanceWeighted
from jensen_papers.result import Claim, Result

PAPER = "Burda et al. (2016)"
COUNTS = (1, 5, 50)
DATA, LATENT, NOISE = 6, 2, 0.5


def reproduce(full: bool = False, figure: Path | None = None) -> Result:
    """Measure the claims in double precision, and write a figure to `figure` if given; `full` adds autoencoders."""
    began = time.perf_counter()
    with jax.enable_x64(True):
        curve: dict[int, float] = {}
        target, posterior, evidence = _model()
        claims = [
            *_bounds(target, posterior, evidence, 40_000 if full else 8_000, curve),
            *_gradients(target, posterior, 20_000 if full else 4_000),
        ]
    if full:
        from jensen_papers.vi import _digit_autoencoders as digits  # the library's autoencoders take long to import

        claims += digits.table()
    if figure is not None:
        _draw(curve, evidence, figure)
    return Result("P100", "importance-weighted", time.perf_counter() - began, tuple(claims))


def _log_joint(z: Any, x: Any, loadings: Any) -> Any:
    """z ~ N(0, I), x | z ~ N(W z, 0.5^2 I): probabilistic PCA, whose log p(x) is that of N(0, W W^T + 0.25 I)."""
    norm = jax.scipy.stats.norm.logpdf
    return jnp.sum(norm(z)) + jnp.sum(norm(x, loadings @ z, NOISE))


def _model() -> tuple[Any, Gaussian, float]:
    rng = np.random.default_rng(0)
    loadings = rng.normal(size=(DATA, LATENT))
    x = loadings @ rng.normal(size=LATENT) + NOISE * rng.normal(size=DATA)
    cov = np.linalg.inv(np.eye(LATENT) + loadings.T @ loadings / NOISE**2)
    posterior = gaussian_from_cov(jnp.asarray(cov @ loadings.T @ x / NOISE**2), jnp.asarray(cov))
    marginal = loadings @ loadings.T + NOISE**2 * np.eye(DATA)
    evidence = -0.5 * (x @ np.linalg.solve(marginal, x) + np.linalg.slogdet(2 * np.pi * marginal)[1])
    return jn.targets.from_log_density(_log_joint, np.zeros(LATENT), x, loadings), posterior, float(evidence)


def _mismatched(posterior: Gaussian) -> Gaussian:
    """The posterior moved by half a standard deviation and widened by a third, so that its weights are bounded."""
    tril = posterior.scale_tril
    return Gaussian(posterior.mean + 0.5 * tril @ jnp.ones(LATENT), 1.3 * tril)


def _bounds(target: Any, posterior: Gaussian, evidence: float, num: int, curve: dict[int, float]) -> list[Claim]:
    q = _mismatched(posterior)
    draws = sample_many(jax.random.key(0), q, num * max(COUNTS))
    log_w = np.asarray(jax.jit(jax.vmap(lambda z: target.log_density(z) - q.log_prob(z)))(draws)).reshape(num, -1)
    # the same draws for every K, cut into groups: one mean a row of 50, so that differences are paired
    rows = {k: np.logaddexp.reduce(log_w.reshape(num, -1, k), axis=2).mean(axis=1) - math.log(k) for k in COUNTS}
    curve |= {k: float(row.mean()) for k, row in rows.items()}
    error = {k: float(row.std(ddof=1)) / math.sqrt(num) for k, row in rows.items()}
    claims = []
    for small, large in ((1, 5), (5, 50)):
        rise = rows[large] - rows[small]
        z = float(rise.mean() / (rise.std(ddof=1) / math.sqrt(num)))
        words = f"Rise of the bound from K = {small} to K = {large} in standard errors, paired draws"
        claims.append(Claim(words, f"{PAPER}, theorem 1", z, "> 3", None, z > 3))
    over = max((curve[k] - evidence) / error[k] for k in COUNTS)
    claims.append(
        Claim(
            "Bound above the log evidence, standard errors, worst of K",
            f"{PAPER}, theorem 1",
            over,
            "< 3",
            None,
            over < 3,
        )
    )
    share = (evidence - curve[50]) / (evidence - curve[1])
    claims.append(
        Claim(
            "Gap at K = 50 as a share of that of the ELBO",
            f"{PAPER}, theorem 1: the bound converges",
            share,
            "< 0.1",
            1.0,
            share < 0.1,
        )
    )
    # E[mean of the weights' square] of two Gaussians: Var(w) / Z^2 by the draws, leading order of the gap
    chi2 = float(np.var(np.exp(log_w - evidence)))
    ratio = (evidence - curve[50]) / (chi2 / 100)
    where = "The leading order Var(w) / (2 K Z^2) of the gap"
    claims.append(Claim("Gap at K = 50 over its leading order", where, ratio, "0.8 to 1.2", None, 0.8 < ratio < 1.2))
    ours = ImportanceWeighted(50, Reparameterisation(num_draws=20))
    exact = abs(float(ours.loss(jax.random.key(1), posterior, target).value) + evidence)
    words = "Distance of the bound from the log evidence at q = posterior, nats"
    return [*claims, Claim(words, f"{PAPER}, section 3", exact, "< 1e-10", None, exact < 1e-10)]


def _gradients(target: Any, posterior: Gaussian, num: int) -> list[Claim]:
    q, noise = _mismatched(posterior), {}
    for k in (5, 50):
        for estimator in (Reparameterisation(num_draws=1), DoublyReparameterised(num_draws=1)):
            objective = ImportanceWeighted(k, estimator)
            noise[type(estimator), k] = gradient_noise(jax.random.key(k), objective, q, target, num)
    plain, doubly = (noise[e, 50] for e in (Reparameterisation, DoublyReparameterised))
    z = max(
        float(jnp.max(jnp.abs(a - b)[kept] / jnp.sqrt((v + w)[kept] / num)))
        for a, b, v, w in zip(
            *map(jax.tree.leaves, (plain.mean, doubly.mean, plain.variance, doubly.variance)), strict=True
        )
        for kept in [(v + w) > 0]
    )
    where = "Tucker et al. (2019), on this paper's gradient"
    signal = lambda e, k: float(jnp.mean(noise[e, k].signal_to_noise.mean))  # noqa: E731
    kept, lost = (signal(e, 50) / signal(e, 5) for e in (DoublyReparameterised, Reparameterisation))
    less = float(doubly.total_variance)
    return [
        Claim("Standard errors between the two gradients' means, K = 50", where, z, "< 4", None, z < 4),
        Claim(
            "Variance of the doubly reparameterised gradient, K = 50",
            where,
            less,
            "< baseline",
            float(plain.total_variance),
            less < plain.total_variance,
        ),
        Claim(
            "Its signal-to-noise at K = 50 over that at K = 5, against the plain gradient's",
            where,
            kept,
            "> 1 > baseline",
            lost,
            kept > 1 > lost,
        ),
    ]


def _draw(curve: dict[int, float], evidence: float, path: Path) -> None:
    """The bound against K, and the log evidence."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.semilogx(list(curve), list(curve.values()), "o-", label="importance-weighted bound")
    axes.axhline(evidence, color="k", ls="--", label="log evidence")
    axes.set(xlabel="K", ylabel="nats", title="Probabilistic PCA, mismatched q")
    axes.legend()
    figure.savefig(path)
