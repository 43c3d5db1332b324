"""P127: kinetic-optimal Gaussian probability paths (Shaul, Chen, Nickel, Le, Lipman 2023).

What is claimed: the kinetic energy of a Gaussian path depends on the data through one scalar function alone, its
minimiser follows a one-dimensional equation, and the straight conditional path becomes optimal as the data points
become few for their dimension. Everything is computed by quadrature. `--full` takes more draws and dimensions.

With x_t = a x_1 + s x_0 and a sqrt(D) = r sin(theta), s = r cos(theta) the energy is the integral of r'^2 + r^2 G^2
theta'^2, G^2 = 1 - (1 - lambda) / cos^2(theta): a straight line in polar coordinates (r, phi), phi the integral of G.
"""

import dataclasses
import itertools
import math
import time
from pathlib import Path

import numpy as np

from jensen_papers.result import Claim, Result

PAPER = "Shaul et al. (2023)"
THETA = np.linspace(0.0, 0.5 * np.pi, 4001)
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(96)
TIMES = np.linspace(0.0, 1.0, 20_001)


def reproduce(full: bool = False, figure: Path | None = None) -> Result:
    """Measure the claims, and write a figure to `figure` if given; `full` adds draws and dimensions."""
    began = time.perf_counter()
    two = _Data(_separation_of_two_points(), 1.0)
    claims = [*_gaussian(), *_two_points(two), *_few_points(4000 if full else 500), *_euler(two)]
    if figure is not None:
        _draw(two, figure)
    return Result("P127", "kinetic-optimal-paths", time.perf_counter() - began, tuple(claims))


@dataclasses.dataclass(frozen=True)
class _Data:
    """lambda on the grid THETA, and D = E|x_1|^2 / d."""

    separation: np.ndarray
    scale: float

    @property
    def metric(self) -> np.ndarray:
        """G: clipped at zero, where noise of lambda would make its square negative."""
        cos = np.maximum(np.cos(THETA), 1e-12)
        return np.sqrt(np.clip(1 - (1 - self.separation) / cos**2, 0.0, 1.0))

    @property
    def angle(self) -> np.ndarray:
        """phi(theta)."""
        g = self.metric
        return np.concatenate([[0.0], np.cumsum(0.5 * (g[1:] + g[:-1]) * np.diff(THETA))])

    def optimum(self) -> float:
        """KE* = 1 + D - 2 sqrt(D) cos(phi(pi / 2))."""
        return 1 + self.scale - 2 * math.sqrt(self.scale) * math.cos(self.angle[-1])

    def energy(self, a: np.ndarray, s: np.ndarray) -> float:
        """The kinetic energy a dimension of the path (a, s) on the grid TIMES."""
        r, theta = np.hypot(a * math.sqrt(self.scale), s), np.arctan2(a * math.sqrt(self.scale), s)
        middle = 0.5 * (theta[1:] + theta[:-1])
        g = np.interp(middle, THETA, self.metric)
        step = np.diff(TIMES)
        along, across = np.diff(r) / step, 0.5 * (r[1:] + r[:-1]) * g * np.diff(theta) / step
        return float(np.sum((along**2 + across**2) * step))

    def path(self) -> tuple[np.ndarray, np.ndarray]:
        """(a, s) of the kinetic-optimal path on TIMES: a straight line in (r, phi)."""
        end = math.sqrt(self.scale) * np.array([math.cos(self.angle[-1]), math.sin(self.angle[-1])])
        point = (1 - TIMES)[:, None] * np.array([1.0, 0.0]) + TIMES[:, None] * end
        r, phi = np.hypot(*point.T), np.arctan2(point[:, 1], point[:, 0])
        rising = self.angle + 1e-13 * np.arange(len(THETA))  # strictly, where G is zero
        theta = np.interp(phi, rising, THETA)
        return r * np.sin(theta) / math.sqrt(self.scale), r * np.cos(theta)


def _straight() -> tuple[np.ndarray, np.ndarray]:
    """The conditional optimal-transport path a = t, s = 1 - t."""
    return TIMES, 1 - TIMES


def _preserving() -> tuple[np.ndarray, np.ndarray]:
    """The variance-preserving path at constant angular speed."""
    return np.sin(0.5 * np.pi * TIMES), np.cos(0.5 * np.pi * TIMES)


def _separation_of_two_points() -> np.ndarray:
    """lambda of x_1 = +-1: E tanh^2(tau (tau + eps)), tau = a / s = tan(theta)."""
    tau = np.tan(np.minimum(THETA, 0.5 * np.pi - 1e-9))
    values = np.tanh(np.minimum(tau[:, None] * (tau[:, None] + NODES), 50.0)) ** 2
    return values @ WEIGHTS / WEIGHTS.sum()


def _separation_of_points(points: np.ndarray, draws: int, seed: int) -> _Data:
    """lambda of an empirical distribution, from the softmax posterior mean at noisy points."""
    rng = np.random.default_rng(seed)
    d, scale = points.shape[1], float(np.mean(points**2))
    chosen, noise = points[rng.integers(len(points), size=draws)], rng.normal(size=(draws, d))
    coarse = np.linspace(0, 0.5 * np.pi, 41)
    norms = 0.5 * np.sum(points**2, axis=1)
    values = []
    for tau in np.tan(np.minimum(coarse, 0.5 * np.pi - 1e-3)) / math.sqrt(scale):
        logits = tau * (tau * chosen + noise) @ points.T - tau**2 * norms
        weights = np.exp(logits - logits.max(1, keepdims=True))
        mean = weights @ points / weights.sum(1, keepdims=True)
        values.append(np.mean(mean**2) / scale)
    values[0], values[-1] = float(np.mean(points.mean(0) ** 2) / scale), 1.0
    return _Data(np.interp(THETA, coarse, values), scale)


def _gaussian() -> list[Claim]:
    """Data N(0, I): lambda = sin^2(theta)."""
    data = _Data(np.sin(THETA) ** 2, 1.0)
    ot, vp = data.energy(*_straight()), data.energy(*_preserving())
    where = f"{PAPER}, kinetic energy of Gaussian paths; closed forms derived"
    wide = _Data(np.sin(THETA) ** 2, 4.0)
    # the marginal standard deviation sqrt(a^2 D + s^2) rises linearly from 1 to 2
    angle = 0.5 * np.pi * TIMES
    a, s = (1 + TIMES) * np.sin(angle) / 2, (1 + TIMES) * np.cos(angle)
    linear = wide.energy(a, s)
    off = abs(ot - (2 - 0.5 * np.pi))
    return [
        Claim("Energy of Cond-OT less 2 - pi/2, data N(0, 1)", where, off, "< 1e-3", None, off < 1e-3),
        Claim("Energy of the variance-preserving path there", where, vp, "< 1e-3", ot, vp < 1e-3),
        Claim(
            "Energy of a linear marginal deviation less (1 - s)^2, data N(0, 4)",
            where,
            abs(linear - 1),
            "< 1e-3",
            wide.energy(*_straight()),
            abs(linear - 1) < 1e-3,
        ),
    ]


def _two_points(data: _Data) -> list[Claim]:
    best, on_path = data.optimum(), data.energy(*data.path())
    ot, vp = data.energy(*_straight()), data.energy(*_preserving())
    where = f"{PAPER}, kinetic-optimal path by a one-dimensional equation"
    worst, rng = -math.inf, np.random.default_rng(3)
    for seed in range(5):
        points = rng.normal(size=(rng.integers(2, 8), 1)) * rng.uniform(0.5, 2)
        mixture = _separation_of_points(points, 2000, seed)
        least = min(mixture.energy(*_straight()), mixture.energy(*_preserving()))
        worst = max(worst, mixture.energy(*mixture.path()) - least)
    distance = 2 - 2 * math.sqrt(2 / math.pi)  # W2^2 between N(0, 1) and +-1
    return [
        Claim(
            "Energy of the optimal path for data +-1",
            where,
            on_path,
            "within 0.01 of .459",
            ot,
            abs(on_path - 0.459) < 0.01,
        ),
        Claim(
            "The same by the closed form of its polar coordinates: difference",
            where,
            abs(on_path - best),
            "< 1e-3",
            None,
            abs(on_path - best) < 1e-3,
        ),
        Claim(
            "Energy of the variance-preserving path there", where, vp, "within 0.01 of .869", ot, abs(vp - 0.869) < 0.01
        ),
        Claim(
            "Largest excess of the optimal over the better of both, five random sets of points",
            where,
            worst,
            "<= 0.005",
            None,
            worst <= 0.005,
        ),
        Claim(
            "Optimal energy above the transport cost W2^2: no path of this kind attains it",
            "Benamou and Brenier (2000)",
            best - distance,
            ">= 0",
            distance,
            best >= distance,
        ),
    ]


def _few_points(draws: int) -> list[Claim]:
    """32 random points on the sphere of radius sqrt(d), d = 1, 4, 16, 64, 256."""
    gaps = []
    for d in (1, 4, 16, 64, 256):
        points = np.random.default_rng(d).normal(size=(32, d))
        points *= math.sqrt(d) / np.linalg.norm(points, axis=1, keepdims=True)
        data = _separation_of_points(points, draws, d)
        gaps.append(data.energy(*_straight()) - data.energy(*data.path()))
    where = f"{PAPER}, theorem: Cond-OT becomes optimal as n / d tends to 0"
    falls = all(a > b for a, b in itertools.pairwise(gaps))
    return [
        Claim(
            "Energy of Cond-OT above the optimum, 32 points in 256 dimensions",
            where,
            gaps[-1],
            "< a quarter of that in 1",
            gaps[0],
            gaps[-1] < 0.25 * gaps[0],
        ),
        Claim(
            "It falls in d = 1, 4, 16, 64, 256: largest of the later values",
            where,
            max(gaps[1:]),
            "each below the one before",
            gaps[0],
            falls,
        ),
    ]


def _sample(a: np.ndarray, s: np.ndarray, steps: int) -> float:
    """W2 from +-1 of Euler samples with the exact velocity of the path, by 20,000 quantiles."""
    from scipy.special import ndtri

    x = ndtri((np.arange(20_000) + 0.5) / 20_000)
    da, ds = np.gradient(a, TIMES), np.gradient(s, TIMES)
    for k in range(steps):
        i = round(k * (len(TIMES) - 1) / steps)
        mean = np.tanh(np.clip(a[i] * x / s[i] ** 2, -50, 50))
        x = x + (ds[i] / s[i] * x + (da[i] - a[i] * ds[i] / s[i]) * mean) / steps
    return float(np.sqrt(np.mean((np.sort(x) - np.sign(np.arange(20_000) - 9999.5)) ** 2)))


def _euler(data: _Data) -> list[Claim]:
    where = f"{PAPER}, abstract: simple trajectories are easier to sample"
    ours = {n: _sample(*data.path(), n) for n in (2, 4, 8)}
    straight = {n: _sample(*_straight(), n) for n in (2, 4, 8)}
    claims = [
        Claim(
            f"W2 of samples by {n} Euler steps with the exact velocity, data +-1",
            where,
            ours[n],
            "< Cond-OT",
            straight[n],
            ours[n] < straight[n],
        )
        for n in (4, 8)
    ]
    coarse = "By 2 steps the optimal path is the worse one: least energy is not straightest"
    return [
        *claims,
        Claim(coarse, "Beyond the paper: measured here", ours[2], "> Cond-OT", straight[2], ours[2] > straight[2]),
    ]


def _draw(data: _Data, path: Path) -> None:
    """The paths in the (a, s) plane, and the error of samplers by steps."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, curve in {
        "kinetic optimal": data.path(),
        "Cond-OT": _straight(),
        "variance preserving": _preserving(),
    }.items():
        left.plot(*curve, label=f"{name}: {data.energy(*curve):.3f}")
        steps = (2, 4, 8, 16, 32, 64)
        right.loglog(steps, [_sample(*curve, n) for n in steps], "o-", label=name)
    left.set(title="paths for data +-1, and their energy", xlabel="a", ylabel="s")
    right.set(title="Euler samples with the exact velocity", xlabel="steps", ylabel="W2 from the data")
    left.legend()
    right.legend()
    figure.savefig(path)
