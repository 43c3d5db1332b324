"""P042: variational sparse inverse Cholesky approximation by double KL minimisation (Cao et al. 2023).

What is claimed: with stationary kernels, a prior and a posterior whose precisions have sparse Cholesky factors (maximin
order, nearest earlier neighbours) are far more accurate than inducing points or a mean field at the same cost. Truth is
the exact posterior of n = 400 points; baselines are an inducing-point prior with eight times as many points as
neighbours, and the best mean field. The authors train the posterior's factor by stochastic gradients; here it is the
factor of their initialisation, which needs no training. `--full` adds the authors' first simulation.
"""

import time
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import jensen as jn
from jensen.core import DensityPosterior, Sites
from jensen.families import SiteGaussian
from jensen.gp import LatentModel, fixed_point
from jensen.gp.kernels import Matern12, Matern32
from jensen.gp.likelihoods import BernoulliLogit, Gaussian, StudentT
from jensen.gp.priors import Dense, Inducing, Vecchia, nearest_neighbours, neighbours_from
from jensen_papers.result import Claim, Result

PAPER = "Cao et al. (2023), abstract"
NOISE = 0.1
NEIGHBOURS = (2, 8)


def reproduce(full: bool = False, figure: Path | None = None) -> Result:
    """Measure the claims in double precision, and write a figure to `figure` if given; `full` adds the simulation."""
    began = time.perf_counter()
    with jax.enable_x64(True):
        curves: dict[str, list[tuple[int, float, float]]] = {}
        claims = [_markov(), *_regression(curves), _classes(), _growth()]
        if full:
            claims += [_everything(), *_simulation()]
    if figure is not None:
        _draw(curves, figure)
    return Result("P042", "sparse-inverse-cholesky", time.perf_counter() - began, tuple(claims))


def _plane(n: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).uniform(size=(n, 2)))


def _draw_from(k: jax.Array, seed: int = 0) -> tuple[jax.Array, jax.Array]:
    """A draw of N(0, K), and as many standard normal numbers."""
    eps = np.random.default_rng(seed + 100).normal(size=(2, len(k)))
    return jnp.linalg.cholesky(k + 1e-10 * jnp.eye(len(k))) @ eps[0], jnp.asarray(eps[1])


@eqx.filter_jit
def _distance(prior: Vecchia, k: jax.Array) -> jax.Array:
    """KL(N(0, K) || prior) = log det U^-1 - log det K / 2: the traces agree at the optimum."""
    return _gap(jnp.log(prior.factor().scales), k)


def _gap(log_scales: jax.Array, k: jax.Array) -> jax.Array:
    noisy = k + 1e-10 * jnp.eye(len(k))  # with the library's jitter: what the factor is of
    return jnp.sum(log_scales) - jnp.sum(jnp.log(jnp.diagonal(jnp.linalg.cholesky(noisy))))


def _markov(n: int = 120) -> Claim:
    line, kernel = np.sort(np.random.default_rng(0).uniform(0, 20, n)), Matern12()
    order = np.asarray(nearest_neighbours(line, 2).order)
    chain = Vecchia(kernel, line, neighbours_from(line, order, _sides(line[order])))
    zero = abs(float(_distance(chain, kernel(jnp.asarray(line), jnp.asarray(line)))))
    return Claim(
        "KL of the sparse prior from the exact one (nats), Ornstein-Uhlenbeck on a line, the nearest earlier point on "
        "each side as parents",
        "Derived: a Markov process needs no more",
        zero,
        "< 1e-6: what the jitter of 1e-10 leaves",
        None,
        zero < 1e-6,
    )


def _sides(points: np.ndarray) -> list[list[int]]:
    parents = []
    for i, point in enumerate(points):
        left, right = np.flatnonzero(points[:i] < point), np.flatnonzero(points[:i] > point)
        parents.append(
            ([int(left[np.argmax(points[left])])] if len(left) else [])
            + ([int(right[np.argmin(points[right])])] if len(right) else [])
        )
    return parents


@eqx.filter_jit
def _exact(kernel: Matern32, x: jax.Array, eps: Any) -> tuple[jax.Array, ...]:
    """Covariance, data, posterior mean, posterior precision and its log determinant, log evidence."""
    k, eye = kernel(x, x), jnp.eye(len(x))
    y = jnp.linalg.cholesky(k + 1e-10 * eye) @ eps[0] + jnp.sqrt(NOISE) * eps[1]
    total = k + NOISE * eye
    scaled = jnp.linalg.solve(total, y)
    precision = jnp.linalg.inv(k + 1e-10 * eye) + eye / NOISE
    fit = y @ scaled + jnp.linalg.slogdet(total)[1] + len(x) * jnp.log(2 * jnp.pi)
    return k, y, k @ scaled, precision, jnp.linalg.slogdet(precision)[1], -0.5 * fit


class Regression:
    """n = 400 points of a Gaussian process with noise: exact posterior and evidence."""

    def __init__(self, n: int = 400, lengthscale: float = 0.15):
        self.x, self.kernel = _plane(n), Matern32(lengthscale=jnp.asarray(lengthscale))
        eps = np.random.default_rng(100).normal(size=(2, n))
        exact = _exact(self.kernel, self.x, eps)
        self.k, self.y, self.mean, self.precision, self.log_det, self.evidence = exact
        self.sites = Sites(self.y[:, None] / NOISE, jnp.full((n, 1, 1), 1 / NOISE))

    def sparse(self, neighbours: int) -> tuple[float, float, float]:
        """Error of the posterior mean (root mean square), KL(q || exact posterior) and KL(exact prior || prior)."""
        prior = Vecchia(self.kernel, self.x, neighbours)
        error, divergence, distance = _errors(prior, self.sites, self.k, self.mean, self.precision, self.log_det)
        return float(error), float(divergence), float(distance)

    def inducing(self, num: int) -> tuple[float, float]:
        """The same with the first points of the maximin order as inducing points and the best q of these."""
        order = nearest_neighbours(self.x, 1).order[:num]
        prior = Inducing(self.kernel, self.x, self.x[order])
        bound, mean = _bound(LatentModel(prior, Gaussian(NOISE), self.y), self.sites)
        return float(jnp.sqrt(jnp.mean((mean - self.mean) ** 2))), float(self.evidence - bound)

    def mean_field(self) -> float:
        """KL of the best independent q: the same mean, variances 1 / precision_ii."""
        return float(0.5 * (jnp.sum(jnp.log(jnp.diagonal(self.precision))) - self.log_det))


@eqx.filter_jit
def _errors(prior: Vecchia, sites: Sites, k: Any, mean: Any, precision: Any, log_det: Any) -> tuple[jax.Array, ...]:
    q, order, n = prior.posterior(sites), prior.neighbours.order, prior.num_sites
    root = jax.vmap(lambda u: q.factor.drawn(prior.neighbours.elimination, u))(jnp.eye(n))
    off, precision = q.mean - mean[order], precision[order][:, order]
    trace = jnp.einsum("un,nm,um->", root, precision, root)
    divergence = 0.5 * (trace + off @ precision @ off - n - log_det) - jnp.sum(jnp.log(q.factor.scales))
    return jnp.sqrt(jnp.mean(off**2)), divergence, _gap(jnp.log(q.prior.scales), k)


@eqx.filter_jit
def _bound(target: LatentModel, sites: Sites) -> tuple[jax.Array, jax.Array]:
    marginals = target.prior.condition(sites)
    return jn.algorithms.CVI().log_evidence(sites, marginals, target), marginals.mean[:, 0]


def _regression(curves: dict[str, list[tuple[int, float, float]]]) -> list[Claim]:
    model = Regression()
    found = {m: model.sparse(m) for m in NEIGHBOURS}
    distances = [distance for _, _, distance in found.values()]
    curves["sparse factor, neighbours"] = [(m, *found[m][:2]) for m in NEIGHBOURS]
    curves["inducing points / 8"] = [(m, *model.inducing(8 * m)) for m in NEIGHBOURS]
    (_, error, divergence), (_, other_error, other) = (curve[1] for curve in curves.values())
    independent = model.mean_field()
    return [
        Claim(
            "KL of the sparse prior from the exact one (nats), Matern-3/2 in the unit square, n = 400, 8 neighbours, "
            "against 2",
            "Derived: the optimum of KL(exact || sparse) can only fall as the pattern grows",
            distances[-1],
            "< baseline",
            distances[0],
            distances[-1] < distances[0],
        ),
        Claim(
            "Root mean square error of the posterior mean, 8 neighbours against 64 inducing points, n = 400, noise 0.1",
            f"{PAPER}: vastly more accurate for stationary kernels",
            error,
            "< 1/3 of the baseline",
            other_error,
            error < other_error / 3,
        ),
        Claim(
            "KL(q || exact posterior) in nats, the same two",
            f"{PAPER}: vastly more accurate for stationary kernels",
            divergence,
            "< 1/3 of the baseline",
            other,
            divergence < other / 3,
        ),
        Claim(
            "The same against the best mean field",
            f"{PAPER}: more accurate than mean-field approximations",
            divergence,
            "< 1/3 of the baseline",
            independent,
            divergence < independent / 3,
        ),
    ]


def _everything() -> Claim:
    model = Regression(60, 0.3)
    pattern = nearest_neighbours(model.x, 59, radius=np.inf)
    prior = Vecchia(model.kernel, model.x, pattern)
    bound, _ = _bound(LatentModel(prior, Gaussian(NOISE), model.y), model.sites)
    off = abs(float(bound - model.evidence))
    return Claim(
        "|bound - log evidence| (nats) with all earlier points as neighbours, n = 60",
        "Derived: both approximations are then exact",
        off,
        "< 1e-6",
        None,
        off < 1e-6,
    )


def _classes(n: int = 300) -> Claim:
    x, kernel = _plane(n, 1), Matern32(lengthscale=jnp.asarray(0.2), variance=jnp.asarray(4.0))
    f, eps = _draw_from(kernel(x, x), 1)
    y = np.asarray(f + 0.3 * eps > 0, float)
    means = {}
    for name, prior in {"sparse": Vecchia(kernel, x, 10), "dense": Dense(kernel, x)}.items():
        means[name] = _mean(LatentModel(prior, BernoulliLogit(), y))
    off = float(jnp.linalg.norm(means["sparse"] - means["dense"]) / jnp.linalg.norm(means["dense"]))
    return Claim(
        "Relative error of the posterior mean of a classification, n = 300, 10 neighbours, against dense VI",
        f"{PAPER}: latent Gaussian processes, by the row's pilot",
        off,
        "< 0.05",
        None,
        off < 0.05,
    )


def _cvi(target: LatentModel, rate: float = 1.0) -> SiteGaussian:
    algorithm = jn.algorithms.CVI(rate=rate)
    fit = jn.run(algorithm, target, key=jax.random.key(0), steps=200, certify=False, progress=False)
    assert isinstance(fit.posterior, DensityPosterior)
    assert isinstance(fit.posterior.q, SiteGaussian)
    return fit.posterior.q


@eqx.filter_jit
def _mean(model: LatentModel) -> jax.Array:
    """Of the best Gaussian posterior."""
    return model.prior.condition(fixed_point(jn.algorithms.CVI(), model, 50)).mean[:, 0]


def _growth() -> Claim:
    """What a stochastic step on one point touches: its ancestors."""
    sizes = [float(np.mean(np.sum(np.asarray(nearest_neighbours(_plane(n), 8).ancestors) < n, 1))) for n in (500, 2000)]
    ratio = sizes[1] / sizes[0]
    return Claim(
        "Growth of the mean number of ancestors of a point from n = 500 to n = 2000 (a factor of 4 in n)",
        f"{PAPER}: polylogarithmic time per iteration",
        ratio,
        "< 1.6",
        4.0,
        ratio < 1.6,
    )


@eqx.filter_jit
def _responses(likelihood: Any, keys: Any, f: Any) -> Any:
    return jax.vmap(likelihood.sample)(keys, f)


def _simulation(n: int = 2000, tests: int = 500, repeats: int = 3) -> list[Claim]:
    """The authors' first simulation: five inputs, lengthscales 0.25 to 1.25, Student-t noise of df 2, or labels."""
    kernel = Matern32(lengthscale=jnp.array([0.25, 0.5, 0.75, 1.0, 1.25]))
    likelihoods = {"Student-t, df 2": StudentT(scale=0.1, df=2.0), "labels": BernoulliLogit()}
    errors: dict[str, np.ndarray] = {}
    for seed in range(repeats):
        x = jnp.asarray(np.random.default_rng(seed).uniform(size=(n + tests, 5)))
        f, _ = _draw_from(kernel(x, x), seed)
        order = nearest_neighbours(x[:n], 1, kernel.lengthscale).order
        priors = {"sparse": Vecchia(kernel, x[:n], 16), "inducing": Inducing(kernel, x[:n], x[order[:128]])}
        for words, likelihood in likelihoods.items():
            keys = jax.random.split(jax.random.key(seed), n)
            y = np.asarray(_responses(likelihood, keys, f[:n, None]))
            for name, prior in priors.items():
                q = _cvi(LatentModel(prior, likelihood, y), rate=0.5)
                off = q.predict(x[n:])[0][:, 0] - f[n:]
                both = errors.setdefault(words, np.zeros((2, repeats)))
                both[list(priors).index(name), seed] = float(jnp.sqrt(jnp.mean(off**2)))
    return [
        Claim(
            f"Root mean square error of f at {tests} new inputs, n = {n}, d = 5, {words}: 16 neighbours against 128 "
            "inducing points",
            "Cao et al. (2023), simulation 1 (figure, no table)",
            float(both[0].mean()),
            "< baseline",
            float(both[1].mean()),
            bool(both[0].mean() < both[1].mean()),
        )
        for words, both in errors.items()
    ]


def _draw(curves: dict[str, list[tuple[int, float, float]]], path: Path) -> None:
    """Error of the posterior mean and KL to the exact posterior against the size."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    words = ("error of the posterior mean", "KL(q || exact), nats")
    for i, (axes, label) in enumerate(zip(figure.subplots(1, 2), words, strict=True)):
        for name, curve in curves.items():
            axes.loglog([point[0] for point in curve], [point[1 + i] for point in curve], "o-", label=name)
        axes.set(xlabel="neighbours, or inducing points / 8", ylabel=label)
        axes.legend()
    figure.savefig(path)
