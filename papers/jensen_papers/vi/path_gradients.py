"""P237: fast and unified path gradient estimators for normalizing flows (Vaitl, Winkler, Richter, Kessel 2024).

What is claimed: a recursion through the layers gives grad log q of a flow's own draw without the inverse, so that path
gradients cost less; the same integrand at draws of p is a path gradient of the forward divergence, for training by
maximum likelihood with the gradient of log p; both have no variance where q = p, and train better. Away from there
their variance need not be lower, which is not claimed. `--full` adds other layers, and training on a banana and on a
lattice field in 16-d.
"""

import time
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import jensen as jn
from jensen.core import sample_many
from jensen.families import Affine, Autoregressive, Bijective, Coupling, Flow, FlowBuilder, Gaussian, Spline
from jensen.gradient_estimators import PathGradient, Reparameterisation, StickingTheLanding, gradient_noise
from jensen.objectives import MaximumLikelihood, NegativeElbo, PathMaximumLikelihood
from jensen_papers.result import Claim, Result

PAPER = "Vaitl et al. (2024)"
SMALL, NUM = Coupling(Affine(), 8, 1), 2000
OTHERS = {"spline coupling": Coupling(Spline(4), 8, 1), "affine autoregressive": Autoregressive(Affine(), 8, 1)}


def reproduce(full: bool = False, figure: Path | None = None) -> Result:
    """Measure the claims in double precision, and write a figure to `figure` if given; `full` adds seeds, a field."""
    began = time.perf_counter()
    with jax.enable_x64(True):
        noise: dict[str, float] = {}
        claims = [*_recursion({"affine coupling": SMALL}), *_noise(noise), *_cost(full)]
        if full:
            claims += _recursion(OTHERS)
            claims += _training(_banana(), 2, range(3), "banana, ")
            claims += _training(_field(), 16, range(3), "16-d lattice field, ")
    if figure is not None:
        _draw(noise, figure)
    return Result("P237", "path-gradients", time.perf_counter() - began, tuple(claims))


def _flow(layer: Any, d: int, num_layers: int = 3, moved: float = 0.1) -> Flow:
    """A flow of which every parameter is moved from its start by a normal number of this size."""
    q = FlowBuilder(layer, num_layers).build(jax.random.key(0), Gaussian(jnp.zeros(d), jnp.eye(d)))
    return _moved(q, jnp.asarray(moved))


@eqx.filter_jit
def _moved(q: Flow, by: Any) -> Any:
    trainable, rest = q.partition()
    leaves, tree = jax.tree.flatten(trainable)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    leaves = [a + by * jax.random.normal(k, a.shape) for a, k in zip(leaves, keys, strict=True)]
    return eqx.combine(jax.tree.unflatten(tree, leaves), rest)


def _recursion(layers: dict[str, Any]) -> list[Claim]:
    """grad log q by the recursion against automatic differentiation through the inverse, in float64."""
    claims = []
    for name, layer in layers.items():
        q = _flow(layer, 4)

        def both(eps: Any, q: Flow = q) -> Any:
            return q.from_noise_and_score(eps)[2], Bijective.from_noise_and_score(q, eps)[2]

        ours, truth = map(np.asarray, jax.jit(jax.vmap(both))(jax.random.normal(jax.random.key(2), (50, 4))))
        error = float(np.max(np.abs(ours - truth) / (1 + np.abs(truth))))
        where = f"{PAPER}, recursion for the path gradient"
        claims.append(Claim(f"Error of the recursion, {name}, relative", where, error, "< 1e-9", None, error < 1e-9))
    return claims


def _log_flow(z: Any, q: Any) -> Any:
    return q.log_prob(z)


def _noise(noise: dict[str, float]) -> list[Claim]:
    """p and q both flows, two apart and one: means of path and standard gradients, and their variance at q = p."""
    p, q = _flow(SMALL, 2, moved=0.05), _flow(SMALL, 2, moved=0.08)
    target = jn.targets.from_log_density(_log_flow, np.zeros(2), p)
    draws = eqx.filter_jit(sample_many)(jax.random.key(3), p, 4096)
    claims = []
    for name, ours, other in (
        ("reverse", NegativeElbo(PathGradient(1)), NegativeElbo(Reparameterisation(1))),
        ("forward, on draws of p", PathMaximumLikelihood(draws, 1), MaximumLikelihood(draws, 1)),
    ):
        path, plain = (gradient_noise(jax.random.key(i), o, q, target, NUM) for i, o in enumerate((ours, other)))
        z = _distance(path, plain)
        words = f"Standard errors between path and standard gradients, {name}, worst of all parameters"
        claims.append(Claim(words, f"{PAPER}, path gradients are unbiased", z, "< 5", None, z < 5))
        still, noisy = (
            float(gradient_noise(jax.random.key(5), o, p, target, NUM).total_variance) for o in (ours, other)
        )
        noise |= {f"{name}, path": float(path.total_variance), f"{name}, standard": float(plain.total_variance)}
        words = f"Total variance of the path gradient at q = p, {name}, against the standard one"
        holds = still < 1e-20 and noisy > 1
        claims.append(Claim(words, f"{PAPER}, zero variance", still, "< 1e-20, baseline > 1", noisy, holds))
    return claims


def _distance(a: Any, b: Any) -> float:
    """The largest difference of two mean gradients, in standard errors."""
    worst = 0.0
    for one, two, v, w in zip(*map(jax.tree.leaves, (a.mean, b.mean, a.variance, b.variance)), strict=True):
        error = np.sqrt(np.asarray(v + w) / NUM)
        known = error > 1e-12  # the weights that masks hide have no gradient
        worst = max(worst, float(np.max(np.abs(np.asarray(one - two))[known] / error[known], initial=0.0)))
    return worst


def _cost(timed: bool) -> list[Claim]:
    """One gradient of the ELBO by the recursion over that through the inverse: affine coupling layers, a cheap target.

    By operations counted in the program, which no other work on the machine can change; `timed` also by the clock.
    """
    q = _flow(Coupling(Affine(), 64, 2), 8, num_layers=8)
    trainable, rest = q.partition()
    target = jn.targets.from_log_density(lambda z: -0.5 * z @ z, np.zeros(8))
    programs = []
    for estimator in (PathGradient(64), StickingTheLanding(64)):
        objective = NegativeElbo(estimator)

        def loss(trainable: Any, key: Any, objective: Any = objective) -> Any:
            return objective.loss(key, eqx.combine(trainable, rest), target).surrogate

        programs.append(jax.jit(jax.grad(loss)).lower(trainable, jax.random.key(0)))
    counts = [float(program.cost_analysis()["flops"]) for program in programs]
    ratio, where = counts[0] / counts[1], f"{PAPER}, runtime"
    words = "of a gradient by the recursion over that through the inverse, 8 affine coupling layers"
    claims = [Claim(f"Operations {words}", where, ratio, "< 1", 1.0, ratio < 1)]
    if timed:
        compiled = [program.compile() for program in programs]
        seconds: list[list[float]] = [[], []]
        for i in range(30):  # in turn, so that what else the machine does strikes both
            for program, row in zip(compiled, seconds, strict=True):
                began = time.perf_counter()
                jax.block_until_ready(program(trainable, jax.random.key(i)))
                row.append(time.perf_counter() - began)
        ratio = min(seconds[0]) / min(seconds[1])
        claims.append(Claim(f"Wall time {words}", where, ratio, "< 1", 1.0, ratio < 1, timed=True))
    return claims


def _banana() -> Any:
    return jn.targets.synthetic.Banana()


def _log_field(z: Any) -> Any:
    """A 4 x 4 lattice field: -1/2 sum (differences)^2 - sum (z^2 - 1)^2 / 2."""
    z = z.reshape(4, 4)
    links = sum(jnp.sum((z - jnp.roll(z, 1, axis)) ** 2) for axis in (0, 1))
    return -0.5 * links - 0.5 * jnp.sum((z**2 - 1) ** 2)


def _field() -> Any:
    return jn.targets.from_log_density(_log_field, np.zeros(16))


def _training(target: Any, d: int, seeds: Any, words: str) -> list[Claim]:
    """The effective share of 20,000 draws after equal steps, mean over seeds; forward on few draws of p."""
    layer = Coupling(Affine(), 16, 1)
    objectives: dict[str, Any] = {
        "reverse, path": lambda draws: NegativeElbo(PathGradient(16)),
        "reverse, standard": lambda draws: NegativeElbo(Reparameterisation(16)),
    }
    if hasattr(target, "exact_draws"):
        objectives |= {
            "forward, path": lambda draws: PathMaximumLikelihood(draws, 16),
            "forward, standard": lambda draws: MaximumLikelihood(draws, 16),
        }
    start, shares = Gaussian(jnp.zeros(d), 1.5 * jnp.eye(d)), {}
    for name, make in objectives.items():
        shares[name] = []
        for seed in seeds:
            draws = target.exact_draws(jax.random.key(100 + seed), 100) if "forward" in name else None
            flow = FlowBuilder(layer, num_layers=4).build(jax.random.key(seed), start)
            algorithm = jn.algorithms.GradientVI(family=flow, objective=make(draws), learning_rate=5e-3)
            fit = jn.run(algorithm, target, key=jax.random.key(seed), steps=1000, certify=False, progress=False)
            shares[name].append(_share(fit.posterior.q, target))  # pyright: ignore[reportAttributeAccessIssue]
    mean = {name: float(np.mean(row)) for name, row in shares.items()}
    claims = []
    for way in ("reverse", "forward"):
        if f"{way}, path" in mean:
            ours, other = mean[f"{way}, path"], mean[f"{way}, standard"]
            rows = np.array([shares[f"{way}, path"], shares[f"{way}, standard"]])
            slack = float(np.sqrt(np.sum(rows.var(axis=1, ddof=1)) / rows.shape[1]))
            text = f"Effective share of draws after 1,000 steps, {words}{way} path gradients against standard ones"
            bound = ">= baseline less its seeds' error"
            claims.append(Claim(text, f"{PAPER}, experiments", ours, bound, other, ours >= other - slack))
    return claims


@eqx.filter_jit
def _log_weights(q: Flow, target: Any) -> Any:
    def one(key: Any) -> Any:
        z, log_q = q.sample_and_log_prob(key)
        return target.log_density(z) - log_q

    return jax.lax.map(one, jax.random.split(jax.random.key(9), 20_000), batch_size=1000)


def _share(q: Flow, target: Any) -> float:
    """(sum w)^2 / (n sum w^2)."""
    w = np.asarray(_log_weights(q, target))
    w = np.exp(w - w.max())
    return float(w.sum() ** 2 / (len(w) * (w**2).sum()))


def _draw(noise: dict[str, float], path: Path) -> None:
    """Total variances of the gradients some way from p, where path gradients are not sure to have less."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.barh(list(noise), list(noise.values()))
    axes.set(xscale="log", xlabel="total variance of a gradient", title="Two flows, some way apart")
    figure.savefig(path)
