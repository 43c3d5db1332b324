"""P197: beyond iid weights, sparse and low-rank deep networks are also Gaussian processes (Nait Saada et al. 2024).

What is claimed: networks whose weights are pseudo-iid (orthogonal, of a rank that grows with the width, block-sparse
and permuted) have the limit of iid weights, with the same edge of chaos. The baseline is a law outside of the class:
weights of fixed rank, whose networks stay heavy-tailed at any width. `--full` goes on to a width of 1024.
"""

import math
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

from jensen.gp.infinite_width import (
    IID,
    NNGP,
    BlockSparse,
    EdgeOfChaos,
    FixedRank,
    LowRank,
    Orthogonal,
    RandomNetwork,
    Smooth,
    WeightEnsemble,
    draw_networks,
    edge_of_chaos,
    susceptibilities,
)
from jensen_papers.result import Claim, Result

PAPER = "Nait Saada, Naderi and Tanner (2024)"
TANH = Smooth(jnp.tanh)
HIDDEN, NETS = 2, 4000
X = np.array([[1.0, 0.3, -0.8], [-0.2, 1.1, 0.5]])
ENSEMBLES = {"iid": IID(), "orthogonal": Orthogonal(), "rank n / 2": LowRank(0.5), "8 blocks": BlockSparse(8)}


def reproduce(full: bool = False, figure: Path | None = None) -> Result:
    """Measure the claims in double precision, and write a figure to `figure` if given; `full` takes width 1024."""
    began = time.perf_counter()
    distances: dict[str, np.ndarray] = {}
    with jax.enable_x64(True):
        edge = edge_of_chaos(TANH, 0.5)
        claims = [*_limits(edge, 1024 if full else 512, distances), *_fixed_rank(edge), _chaos(edge)]
    if figure is not None:
        _draw(distances, figure)
    return Result("P197", "pseudo-iid", time.perf_counter() - began, tuple(claims))


def _outputs(
    edge: EdgeOfChaos, ensemble: WeightEnsemble, width: int, depth: int, x: np.ndarray, nets: int
) -> np.ndarray:
    """An output at the inputs x of `nets` networks, shape (nets, p)."""
    w, b = float(edge.weight_variance), float(edge.bias_variance)
    with jax.enable_x64(False):  # for speed
        network = RandomNetwork(TANH, ensemble, width=width, depth=depth, weight_variance=w, bias_variance=b)
        draw = jax.jit(lambda key, x: draw_networks(key, network, x, nets, batch=500))
        return np.asarray(draw(jax.random.key(0), jnp.asarray(x, jnp.float32)), float)[..., 0]


def _limits(edge: EdgeOfChaos, width: int, distances: dict[str, np.ndarray]) -> list[Claim]:
    kernel = NNGP(TANH, HIDDEN, edge.weight_variance, edge.bias_variance)
    gram = np.asarray(jax.jit(lambda x: kernel(x, x))(jnp.asarray(X)))
    chi2 = scipy.stats.chi2(2)

    def square(f: np.ndarray) -> np.ndarray:
        return np.sum(f * np.linalg.solve(gram, f.T).T, axis=1)

    values, worst = {}, 0.0
    for name, ensemble in ENSEMBLES.items():
        f = _outputs(edge, ensemble, width, HIDDEN, X, NETS)
        distances[f"{name}, width {width}"] = square(f)
        values[name] = float(scipy.stats.kstest(square(f), chi2.cdf).pvalue)
        products = f[:, :, None] * f[:, None, :]
        error = products.std(0) / math.sqrt(NETS)
        worst = max(worst, float(np.max(np.abs(products.mean(0) - gram) / error)))
    narrow = square(_outputs(edge, LowRank(0.5), 16, HIDDEN, X, NETS))
    distances["rank n / 2, width 16"] = narrow
    wide = float(scipy.stats.kstest(distances[f"rank n / 2, width {width}"], chi2.cdf).statistic)
    thin = float(scipy.stats.kstest(narrow, chi2.cdf).statistic)
    where = f"{PAPER}, main theorem"
    layers = f"tanh networks of {HIDDEN + 1} layers at the edge of chaos"
    return [
        Claim(
            f"P-value of the Gaussian process at two inputs, {NETS} {layers}, width {width}: {name}",
            where,
            p,
            "> 0.01",
            None,
            p > 0.01,
        )
        for name, p in values.items()
    ] + [
        Claim(
            "Largest |z| of the covariance to the common kernel, over the four laws of weights",
            f"{where}: the same kernel",
            worst,
            "< 4",
            None,
            worst < 4,
        ),
        Claim(
            f"Kolmogorov-Smirnov distance to the limit, rank n / 2, at width {width}; baseline: at width 16",
            where,
            wide,
            "< baseline / 2",
            thin,
            wide < thin / 2,
        ),
    ]


def _fixed_rank(edge: EdgeOfChaos, rank: int = 4, nets: int = 20_000) -> list[Claim]:
    """One hidden layer, b = 0: the kurtosis over 3 is (1 + 2 / r) (1 + (E phi^4 / E[phi^2]^2 - 1) / n) at any width."""
    unbiased = EdgeOfChaos(edge.weight_variance, jnp.zeros(()), edge.variance)
    first = edge.weight_variance * float(np.mean(X[0] ** 2))
    spread = float(TANH.fourth_moment(first) / TANH.second_moment(first) ** 2) - 1
    claims = []
    for width in (32, 512):
        f = _outputs(unbiased, FixedRank(rank), width, 1, X[:1], nets)[:, 0]
        f = f / math.sqrt(np.mean(f**2))
        found = float(np.mean(f**4)) / 3
        error = float(np.std(f**4 / 3 - 2 * found * f**2)) / math.sqrt(nets)
        truth = (1 + 2 / rank) * (1 + spread / width)
        p = float(scipy.stats.kstest(f, "norm").pvalue)
        claims.append(
            Claim(
                f"Kurtosis over 3 with weights of rank {rank} at width {width}, against {truth:.3f}; baseline: p-value "
                "of a normal distribution",
                f"{PAPER}: the rank must grow with the width; derived",
                found,
                f"within 4 standard errors, {4 * error:.3f}, and baseline < 1e-6",
                p,
                abs(found - truth) < 4 * error and p < 1e-6,
            )
        )
    return claims


def _chaos(edge: EdgeOfChaos) -> Claim:
    w, b, q = edge.weight_variance, edge.bias_variance, edge.variance

    def correlation(r: float) -> float:
        return float((b + w * TANH.dual(q, q, r * q)) / q)

    h = 1e-4
    slope = (3 * correlation(1.0) - 4 * correlation(1 - h) + correlation(1 - 2 * h)) / (2 * h)
    chi = float(susceptibilities(TANH, w, q).perpendicular)
    off = max(abs(slope - chi), abs(chi - 1), abs(correlation(1.0) - 1))
    return Claim(
        "Edge of chaos: largest of |slope of the correlation map at 1 - chi|, |chi - 1| and the fixed point's error",
        f"{PAPER}: the edge of chaos is that of iid weights",
        off,
        "< 1e-6",
        None,
        off < 1e-6,
    )


def _draw(distances: dict[str, np.ndarray], path: Path) -> None:
    """Quantiles of squared distances against those of the limit."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.6), layout="constrained")
    axes = figure.subplots()
    shares = np.linspace(0.002, 0.998, 300)
    exact = scipy.stats.chi2(2).ppf(shares)
    for name, values in distances.items():
        axes.plot(exact, np.quantile(values, shares), label=name)
    axes.plot(exact, exact, "k--", linewidth=0.8)
    axes.set(xlabel="quantile of the Gaussian process", ylabel="quantile of the networks")
    axes.legend()
    figure.savefig(path)
