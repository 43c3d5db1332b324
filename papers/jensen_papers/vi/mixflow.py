"""P003: MixFlows, a mixture of repeated Hamiltonian moves of one reference distribution (Xu, Chen, Campbell 2023).

What is claimed: the family has i.i.d. draws, a density and an unbiased ELBO without any training of the map; its
approximation improves with the number N of moves; it is more reliable than normalizing flows, with samples comparable
to those of MCMC. The baselines are the mean-field Gaussian that it starts from, and planar flows. Every draw's orbit is
checked by going back and forth: draws that lose their digits do not enter a bound.
"""

import math
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jensen as jn
from jensen.algorithms import NUTS, GradientVI
from jensen.core import DensityPosterior
from jensen.families import CheckedElbo, DiagonalGaussian, Gaussian, MixFlow, Planar, checked_elbo
from jensen.gradient_estimators import Reparameterisation
from jensen.metrics import mmd
from jensen.objectives import NegativeElbo
from jensen.targets.synthetic import Banana, Funnel
from jensen_papers.result import Claim, Result

PAPER = "Xu, Chen and Campbell (2023)"
BANANA = {"curvature": 0.1, "scale": 10.0}  # z_1 ~ N(0, 100), z_2 | z_1 ~ N(0.1 z_1^2 - 10, 1)


def reproduce(full: bool = False, figure: Path | None = None) -> Result:
    """Measure the claims in double precision, and write a figure to `figure` if given; `full` adds targets and size."""
    began = time.perf_counter()
    with jax.enable_x64(True):
        target, (base, reference) = Banana(**BANANA), mean_field()  # pyright: ignore[reportArgumentType]
        moves = (1, 10, 50, 100)
        elbos = {n: _elbo(target, base, n, 0.02, 200, 200) for n in moves}
        claims = [*_banana(target, base, reference, elbos), _density()]
        if full:
            claims += _full(target, base)
    if figure is not None:
        _draw(elbos, figure)
    return Result("P003", "mixflow", time.perf_counter() - began, tuple(claims))


def mean_field() -> tuple[DiagonalGaussian, float]:
    """The factorised Gaussian of the largest ELBO on the banana, and that ELBO, in closed form.

    By symmetry m_1 = 0. With v_i the variances, E[-log p] = v_1 / (2 s^2) + 1/2 E[(z_2 - b (z_1^2 - s^2))^2] + ..., so
    that v_2 = 1, m_2 = b (v_1 - s^2), and 1 / v_1 = 1 / s^2 + 4 b^2 v_1, from the variance 2 b^2 v_1^2 of the bend.
    """
    b, s = BANANA["curvature"], BANANA["scale"]
    v = (-1 / s**2 + math.sqrt(1 / s**4 + 16 * b**2)) / (8 * b**2)
    elbo = 0.5 * math.log(v) + 1 - math.log(s) - v / (2 * s**2) - 0.5 - b**2 * v**2
    return DiagonalGaussian(jnp.array([0.0, b * (v - s**2)]), jnp.array([0.5 * math.log(v), 0.0])), elbo


def _elbo(target: Any, base: DiagonalGaussian, moves: int, step: float, leapfrog: int, draws: int) -> CheckedElbo:
    q = MixFlow(target, base, step, num_flows=moves, num_leapfrog=leapfrog)
    return checked_elbo(jax.random.key(moves), q, target, draws)


def _banana(target: Any, base: DiagonalGaussian, reference: float, elbos: dict[int, CheckedElbo]) -> list[Claim]:
    best, planar = elbos[100], _planar(target, base, 5)
    value, error = float(best.value), float(best.standard_error)
    values = np.array([float(e.value) for e in elbos.values()])
    errors = np.array([float(e.standard_error) for e in elbos.values()])
    rise = float(np.min((np.diff(values) - 3 * np.hypot(errors[1:], errors[:-1]))[:2]))
    excess = float(np.max(values - 3 * errors))
    halved = _elbo(target, base, 100, 0.01, 400, 200)
    change = float(halved.value - best.value)
    noise = 3 * math.hypot(error, float(halved.standard_error))
    median = float(np.median(np.asarray(best.errors)))
    where = f"{PAPER}, banana (figure, no table)"
    return [
        Claim(
            "ELBO (nats, log Z = 0) on the banana at N = 100 moves, against the mean-field optimum it starts from",
            where,
            value,
            "> baseline + 0.6",
            reference,
            value > reference + 0.6,
        ),
        Claim(
            "The same against a planar flow of 5 layers, trained from the mean-field optimum",
            f"{PAPER}: more reliable than several normalizing flows",
            value,
            "> baseline",
            planar,
            value > planar,
        ),
        Claim(
            "Least rise of the ELBO from N = 1 to 10 and from 10 to 50, less three standard errors",
            f"{PAPER}, convergence as N grows",
            rise,
            "> 0",
            None,
            rise > 0,
        ),
        Claim(
            "Largest ELBO over N, less three standard errors: a lower bound on log Z",
            f"{PAPER}: unbiased ELBO",
            excess,
            "<= 0",
            None,
            excess <= 0,
        ),
        Claim(
            "Median round-trip error at N = 100", f"{PAPER}, error analysis", median, "< 1e-10", None, median < 1e-10
        ),
        Claim(
            "Share of draws at N = 100 whose orbit comes back within 1e-6; the others are chaotic and left out",
            "Measured; the bound then holds for the draws that are kept",
            float(best.share),
            "> 0.9",
            None,
            float(best.share) > 0.9,
        ),
        Claim(
            "Change of the ELBO at half the step size and twice the steps: the floor that the discretisation leaves",
            f"{PAPER}, uncorrected dynamics",
            change,
            f"> {-noise:.2f}: three standard errors",
            None,
            change > -noise,
        ),
    ]


def _planar(target: Any, base: DiagonalGaussian, layers: int, steps: int = 800) -> float:
    """ELBO of a trained planar flow, by 20,000 draws."""
    start = DensityPosterior(target.space, Gaussian(base.mean, jnp.diag(jnp.exp(base.log_scale))))
    objective = NegativeElbo(Reparameterisation(32))
    algorithm = GradientVI(Planar(layers), objective, learning_rate=0.02)
    fit = jn.run(algorithm, target, key=jax.random.key(0), steps=steps, start=start, certify=False, progress=False)
    assert isinstance(fit.posterior, DensityPosterior)
    loss = jax.jit(lambda q: NegativeElbo(Reparameterisation(20_000)).loss(jax.random.key(1), q, target).value)
    return -float(loss(fit.posterior.q))


def _density() -> Claim:
    """E[q_N(s) / phi(s)] over the three-dimensional state of a one-dimensional target, phi heavy-tailed."""
    target = jn.targets.from_log_density(_quartic, np.zeros(1))
    q = MixFlow(target, DiagonalGaussian(jnp.array([0.3]), jnp.array([-0.3])), 0.1, num_flows=20, num_leapfrog=10)

    @jax.jit
    @jax.vmap
    def weight(key: Any) -> Any:
        keys = jax.random.split(key, 3)
        z, p = 2 * jax.random.t(keys[0], 3.0, (1,)), 2 * jax.random.laplace(keys[1], (1,))
        log_phi = jax.scipy.stats.t.logpdf(z[0] / 2, 3.0) + jax.scipy.stats.laplace.logpdf(p[0] / 2) - math.log(4)
        return jnp.exp(q.log_prob_augmented(z, p, jax.random.uniform(keys[2])) - log_phi)

    total = float(jnp.mean(weight(jax.random.split(jax.random.key(0), 40_000))))
    off = abs(total - 1)
    return Claim("Integral of the density, less 1", f"{PAPER}, density evaluation", off, "< 0.02", None, off < 0.02)


def _quartic(z: Any) -> Any:
    return -0.5 * z[0] ** 2 - 0.25 * z[0] ** 4


def _full(target: Any, base: DiagonalGaussian) -> list[Claim]:
    claims = []
    funnel = Funnel(dimension=2)  # pyright: ignore[reportCallIssue]
    start = DiagonalGaussian(jnp.zeros(2), jnp.zeros(2))
    for name, p, q0 in (("banana", target, base), ("funnel", funnel, start)):
        ours = _elbo(p, q0, 500, 0.02, 200, 2000)
        planar = max(_planar(p, q0, layers, 5000) for layers in (5, 20, 50))
        value = float(ours.value)
        claims += [
            Claim(
                f"ELBO at N = 500 on the {name}, 2000 draws, against the best of planar flows of 5, 20 and 50 layers",
                f"{PAPER}, experiments (figure, no table)",
                value,
                "> baseline",
                planar,
                value > planar,
            ),
            Claim(
                f"Share of draws on the {name} whose orbit comes back within 1e-6",
                "Measured",
                float(ours.share),
                "> 0.5",
                None,
                float(ours.share) > 0.5,
            ),
        ]
        q = MixFlow(p, q0, 0.02, num_flows=500, num_leapfrog=200)
        mine = jax.jit(jax.vmap(q.sample))(jax.random.split(jax.random.key(2), 1000))
        chains = jn.run(NUTS(), p, key=jax.random.key(3), certify=False, progress=False).posterior
        truth = p.exact_draws(jax.random.key(4), 1000)
        distance = mmd(np.asarray(mine), np.asarray(truth))[0]
        other = mmd(np.asarray(chains.sample_z(jax.random.key(5), 1000)), np.asarray(truth))[0]
        claims.append(
            Claim(
                f"MMD^2 of 1000 draws on the {name} to exact ones, against NUTS",
                f"{PAPER}: comparable to MCMC",
                distance,
                "< 2 baseline + 0.05",
                other,
                distance < 2 * other + 0.05,
            )
        )
    return claims


def _draw(elbos: dict[int, CheckedElbo], path: Path) -> None:
    """ELBO and round-trip errors against the number of moves."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    n = list(elbos)
    left.errorbar(n, [float(e.value) for e in elbos.values()], [3 * float(e.standard_error) for e in elbos.values()])
    left.axhline(0.0, color="black", linewidth=0.8)
    left.set(xscale="log", xlabel="moves N", ylabel="ELBO (nats), log Z = 0")
    for share in (0.5, 0.9, 1.0):
        errors = [max(float(np.quantile(np.asarray(e.errors), share)), 1e-17) for e in elbos.values()]
        right.loglog(n, errors, label=f"quantile {share:g}")
    right.set(xlabel="moves N", ylabel="round-trip error")
    right.legend()
    figure.savefig(path)
