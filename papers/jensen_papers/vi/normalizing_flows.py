"""P038: variational inference with normalizing flows (Rezende and Mohamed 2015).

What is claimed: a simple density bent by a sequence of planar or radial maps, of which each costs a scalar determinant,
approximates posteriors that no Gaussian does, and the better the more maps there are. The baseline is the full-rank
Gaussian. The paper's densities U2 to U4 have no finite mass on the plane, so a wall is put at |z_1| = 4. `--full` takes
the best of three seeds and longer runs; the paper's image data are out of scope here.
"""

import functools
import itertools
import math
import time
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import jensen as jn
from jensen.algorithms import GradientVI
from jensen.core import Compiled, DensityPosterior, sample_many
from jensen.families import Builder, FullRank, Gaussian, Planar, Radial
from jensen.gradient_estimators import Reparameterisation
from jensen.objectives import NegativeElbo
from jensen.targets.wrappers import Tempered
from jensen_papers.result import Claim, Result

PAPER = "Rezende and Mohamed (2015)"
DEPTHS = (2, 8, 32)
ELBO = NegativeElbo(Reparameterisation(32))
_brief = functools.partial(Compiled, small=1_000_000)


def reproduce(full: bool = False, figure: Path | None = None) -> Result:
    """Measure the claims in double precision, and write a figure to `figure` if given; `full` takes more steps."""
    began = time.perf_counter()
    with jax.enable_x64(True):
        targets = [jn.targets.from_log_density(_energy, np.zeros(2), np.array(i)) for i in range(4)]
        evidence = np.array([_quadrature(target) for target in targets])
        gaps, flows = _gaps(targets, evidence, full)
        claims = [*_determinants(), *_depth(gaps, evidence), _mass(flows[2])]
        if figure is not None:
            _draw(targets, flows, gaps, figure)
    return Result("P038", "normalizing-flows", time.perf_counter() - began, tuple(claims))


def _energy(z: Any, which: Any) -> Any:
    """-U of the paper's four test densities, with a wall around the last three."""
    w1 = jnp.sin(0.5 * jnp.pi * z[0])
    w2 = 3 * jnp.exp(-0.5 * ((z[0] - 1) / 0.6) ** 2)
    w3 = 3 * jax.nn.sigmoid((z[0] - 1) / 0.3)
    wall = -0.5 * (jnp.maximum(jnp.abs(z[0]) - 4, 0.0) / 0.4) ** 2
    radius = jnp.sqrt(jnp.sum(z**2) + 1e-12)
    sides = jnp.logaddexp(-0.5 * ((z[0] - 2) / 0.6) ** 2, -0.5 * ((z[0] + 2) / 0.6) ** 2)
    ring = -0.5 * ((radius - 2) / 0.4) ** 2 + sides
    wave = -0.5 * ((z[1] - w1) / 0.4) ** 2 + wall
    split = jnp.logaddexp(-0.5 * ((z[1] - w1) / 0.35) ** 2, -0.5 * ((z[1] - w1 + w2) / 0.35) ** 2) + wall
    step = jnp.logaddexp(-0.5 * ((z[1] - w1) / 0.4) ** 2, -0.5 * ((z[1] - w1 + w3) / 0.35) ** 2) + wall
    return jnp.stack([ring, wave, split, step])[which]


@_brief
def _on_grid(target: Any, axis: Any) -> Any:
    return jax.vmap(lambda a: jax.vmap(lambda b: target.log_density(jnp.stack([a, b])))(axis))(axis)


def _quadrature(target: Any) -> float:
    axis = jnp.linspace(-9.0, 9.0, 601)
    return float(jax.nn.logsumexp(_on_grid(target, axis)) + 2 * jnp.log(axis[1] - axis[0]))


@_brief
def _start(family: Builder, key: Any) -> Any:
    return family.build(key, Gaussian(jnp.zeros(2), 2 * jnp.eye(2)))


def _fit(family: Builder, target: Any, seed: int, steps: int, rate: float) -> tuple[Any, float]:
    """The trained family and its ELBO by 20,000 fresh draws; the energy is annealed, as in the paper, in steps."""
    q: Any = _start(family, jax.random.key(seed))
    for beta, share in ((0.1, 0.25), (0.4, 0.25), (1.0, 0.5)):
        algorithm = GradientVI(q, ELBO, learning_rate=rate)
        flatter = Tempered(target=target, beta=beta)  # pyright: ignore[reportCallIssue]
        key = jax.random.fold_in(jax.random.key(seed), int(10 * beta))
        fit = jn.run(algorithm, flatter, key=key, steps=int(share * steps), certify=False, progress=False)
        assert isinstance(fit.posterior, DensityPosterior)
        q = fit.posterior.q
    return q, _elbo(q, target)


@_brief
def _loss(q: Any, target: Any) -> Any:
    return NegativeElbo(Reparameterisation(20_000)).loss(jax.random.key(99), q, target).value


def _elbo(q: Any, target: Any) -> float:
    return -float(_loss(q, target))


def _gaps(targets: list[Any], evidence: np.ndarray, full: bool) -> tuple[dict[Any, np.ndarray], list[Any]]:
    """log Z - ELBO of each target, by depth and for the Gaussian; and the deepest flows."""
    seeds, steps = (3, 8000) if full else (1, 1400)
    gaps, flows = {}, []
    for depth in (*DEPTHS, "gaussian"):
        family = FullRank() if depth == "gaussian" else Planar(int(depth))
        elbos = []
        for target in targets:
            found = [_fit(family, target, seed, steps, 0.02) for seed in range(seeds)]
            q, elbo = max(found, key=lambda pair: pair[1])
            elbos.append(elbo)
            if depth == DEPTHS[-1]:
                flows.append(q)
        gaps[depth] = evidence - np.array(elbos)
    return gaps, flows


def _depth(gaps: dict[Any, np.ndarray], evidence: np.ndarray) -> list[Claim]:
    mean = {depth: float(np.mean(gap)) for depth, gap in gaps.items()}
    rise = min(mean[a] - mean[b] for a, b in itertools.pairwise(DEPTHS))
    worst = float(np.max(gaps[DEPTHS[-1]] - gaps["gaussian"]))
    least = float(min(np.min(gap) for gap in gaps.values()))
    truth = np.array([1.8775, 2.20017, 2.75978, 2.82878])
    off = float(np.max(np.abs(evidence - truth)))
    where = f"{PAPER}, test energies (figure, no table)"
    return [
        Claim("Error of the quadrature of log Z", "The wall makes U2 log Z = 2.20017", off, "< 1e-3", None, off < 1e-3),
        Claim(
            f"log Z - ELBO (nats), mean over four energies, {DEPTHS[-1]} planar layers, against a full-rank Gaussian",
            where,
            mean[DEPTHS[-1]],
            "< baseline",
            mean["gaussian"],
            mean[DEPTHS[-1]] < mean["gaussian"],
        ),
        Claim(
            "The same, energy by energy: largest difference to the Gaussian's",
            where,
            worst,
            "< 0",
            None,
            worst < 0,
        ),
        Claim(
            "Least fall of the mean gap from 2 to 8 to 32 layers (nats), same number of steps",
            f"{PAPER}: improves with the length of the flow",
            rise,
            "> 0",
            None,
            rise > 0,
        ),
        Claim(
            "Smallest gap: the ELBO stays below log Z",
            "A lower bound",
            least,
            "> -0.03: three s.e.",
            None,
            least > -0.03,
        ),
    ]


def _determinants() -> list[Claim]:
    """log |det| by the formula and by the Jacobian, and w . v, over 1000 random layers in five dimensions."""
    unit, claims = Gaussian(jnp.zeros(5), jnp.eye(5)), []
    for name, builder in (("planar", Planar(1)), ("radial", Radial(1))):

        @_brief
        @jax.vmap
        def gap(key: Any, builder: Any = builder) -> Any:
            trained, rest = builder.build(key, unit).partition()
            leaves, treedef = jax.tree.flatten(trained)
            keys = jax.random.split(key, len(leaves) + 1)
            leaves = [a + jax.random.normal(k, a.shape) for a, k in zip(leaves, keys[1:], strict=True)]
            q = eqx.combine(jax.tree.unflatten(treedef, leaves), rest)
            q = eqx.tree_at(lambda q: (q.mean, q.scale_tril), q, (unit.mean, unit.scale_tril))
            u = 2 * jax.random.normal(keys[0], (5,))
            sign, log_det = jnp.linalg.slogdet(jax.jacfwd(lambda u: q.transform(u)[0])(u))
            return jnp.abs(log_det - q.transform(u)[1]) + jnp.where(sign > 0, 0.0, jnp.inf)

        worst = float(jnp.max(gap(jax.random.split(jax.random.key(0), 1000))))
        words = f"Largest error of log |det| of a {name} layer over 1000 random ones, all with positive determinant"
        claims.append(Claim(words, PAPER, worst, "< 1e-6", None, worst < 1e-6))
    return claims


def _mass(q: Any) -> Claim:
    """The integral of a trained density, by the numerical inverse of its layers on a grid."""
    axis = jnp.linspace(-9.0, 9.0, 181)
    values = eqx.filter_jit(lambda q: jax.lax.map(jax.vmap(q.log_prob), _pairs(axis)))(q)
    off = abs(float(jnp.sum(jnp.exp(values)) * (axis[1] - axis[0]) ** 2) - 1)
    return Claim("Integral of the density of 32 layers on U3, less 1", PAPER, off, "< 1e-2", None, off < 1e-2)


_sample = eqx.filter_jit(sample_many)


def _pairs(axis: Any) -> Any:
    return jnp.stack(jnp.meshgrid(axis, axis, indexing="ij"), -1)


def _draw(targets: list[Any], flows: list[Any], gaps: dict[Any, np.ndarray], path: Path) -> None:
    """The energies, draws of the deepest flows, and the gaps by depth."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 5), layout="constrained")
    axes = figure.subplots(2, 5)
    axis = jnp.linspace(-5.0, 5.0, 121)
    for i, (target, q) in enumerate(zip(targets, flows, strict=True)):
        axes[0, i].imshow(np.exp(np.asarray(_on_grid(target, axis))).T, origin="lower", extent=(-5, 5, -5, 5))
        axes[0, i].set(title=f"U{i + 1}")
        z = np.asarray(_sample(jax.random.key(0), q, 2000))
        axes[1, i].scatter(*z.T, s=1)
        axes[1, i].set(xlim=(-5, 5), ylim=(-5, 5))
    for i in range(4):
        axes[0, 4].plot(DEPTHS, [gaps[depth][i] for depth in DEPTHS], "o-", label=f"U{i + 1}")
    axes[0, 4].set(xlabel="layers", ylabel="log Z - ELBO (nats)", xscale="log", ylim=(0, math.ceil(np.max(gaps[2]))))
    axes[0, 4].set_xticks(DEPTHS, [str(depth) for depth in DEPTHS])
    axes[0, 4].minorticks_off()
    axes[0, 4].legend()
    axes[1, 4].axis("off")
    figure.savefig(path)
