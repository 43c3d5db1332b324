"""P218: multimarginal generative modelling with stochastic interpolants (Albergo, Boffi, Lindsey, Vanden-Eijnden 2024).

What is claimed: conditional means g_k(alpha, x) = E[x_k | sum_j alpha_j x_j = x], learned by a quadratic loss over the
simplex, give velocities that transport any marginal into any other along any path in the simplex, and the path may be
optimised afterwards. Measured for three Gaussians, whose conditional means are known. `--full` takes more draws.
"""

import time
from pathlib import Path
from typing import Any

import numpy as np

from jensen_papers.result import Claim, Result

PAPER = "Albergo et al. (2024)"
MEANS = np.array([[0.0, 0.0], [1.0, 0.5], [0.5, 0.5]])
COVS = np.array([[[1.0, 0.0], [0.0, 1.0]], [[0.6, 0.3], [0.3, 0.5]], [[2.0, 0.4], [0.4, 1.5]]])
STEPS = 400


def reproduce(full: bool = False, figure: Path | None = None) -> Result:
    """Measure the claims, and write a figure to `figure` if given; `full` learns from ten times the draws."""
    began = time.perf_counter()
    optimised = _optimise()
    claims = [*_learned(400_000 if full else 40_000), *_transport(), *_cost(optimised), _score()]
    if figure is not None:
        _draw(optimised, figure)
    return Result("P218", "multimarginal-interpolants", time.perf_counter() - began, tuple(claims))


def _affine(alpha: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(matrices, offsets) of g_k(alpha, x) = M_k x + c_k, for independent x_k ~ N(m_k, S_k)."""
    total = np.einsum("j,jab->ab", alpha**2, COVS)
    matrices = np.einsum("k,kab,bc->kac", alpha, COVS, np.linalg.inv(total))
    return matrices, MEANS - matrices @ (alpha @ MEANS)


def _features(alpha: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Polynomials of degree 8 in the simplex times (1, x)."""
    powers = [alpha[:, 0] ** i * alpha[:, 1] ** j for i in range(9) for j in range(9 - i)]
    basis = np.stack(powers, 1)
    return np.concatenate([basis, basis * x[:, :1], basis * x[:, 1:]], axis=1)


def _learned(draws: int) -> list[Claim]:
    """The minimiser of the quadratic loss over functions linear in their parameters, in closed form."""
    rng = np.random.default_rng(0)

    def data(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        alpha = rng.dirichlet(np.ones(3), n)
        edge = rng.random(n) < 0.3  # uniform draws starve the edges, where transport happens
        pair = rng.dirichlet(np.ones(2), n)
        lone = rng.integers(3, size=n)
        on_edge = np.zeros((n, 3))
        on_edge[np.arange(n), lone], on_edge[np.arange(n), (lone + 1) % 3] = pair.T
        alpha = np.where(edge[:, None], on_edge, alpha)
        roots = np.linalg.cholesky(COVS)
        ends = MEANS + np.einsum("kab,nkb->nka", roots, rng.normal(size=(n, 3, 2)))
        return alpha, ends, np.einsum("nk,nka->na", alpha, ends)

    alpha, ends, x = data(draws)
    phi = _features(alpha, x)
    gram = phi.T @ phi + 1e-6 * draws * np.eye(phi.shape[1])
    weights = np.linalg.solve(gram, phi.T @ ends[:, :2].reshape(draws, -1))  # g_2 follows from the sum rule
    alpha, _, x = data(2000)
    alpha = np.maximum(alpha, 0.05)
    alpha /= alpha.sum(1, keepdims=True)
    ours = (_features(alpha, x) @ weights).reshape(-1, 2, 2)
    exact = np.stack(
        [np.einsum("kab,b->ka", (parts := _affine(a))[0], point) + parts[1] for a, point in zip(alpha, x, strict=True)]
    )
    error = float(np.sqrt(np.sum((ours - exact[:, :2]) ** 2) / np.sum(exact[:, :2] ** 2)))
    rule = float(np.max(np.abs(np.einsum("nk,nka->na", alpha, exact) - x)))
    where = f"{PAPER}, conditional means minimise a quadratic loss over the simplex"
    return [
        Claim("Relative error of conditional means learned by regression", where, error, "< 0.05", 1.0, error < 0.05),
        Claim("Error of the rule sum_k alpha_k g_k = x", where, rule, "< 1e-9", None, rule < 1e-9),
    ]


def _edge(t: Any) -> np.ndarray:
    """From rho_0 to rho_1 along the edge."""
    return np.array([1 - t, t, 0 * t])


def _bent(t: Any, coefficients: Any = (0.0, 0.1, 0.35)) -> np.ndarray:
    """The edge at time t + sum_n c_n sin(n pi t), n = 1, 2, bent towards the third vertex by c_3 sin(pi t)."""
    one, two, bend = coefficients
    time = np.clip(t + one * np.sin(np.pi * t) + two * np.sin(2 * np.pi * t), 0.0, 1.0)
    third = np.clip(bend * np.sin(np.pi * t), 0.0, 0.95)
    return np.array([(1 - time) * (1 - third), time * (1 - third), third])


def _moments(path: Any) -> tuple[np.ndarray, np.ndarray, float]:
    """(mean, covariance) at the end from rho_0 by Runge-Kutta steps of the exact velocity, and the cost of the path."""

    def velocity(t: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        h = 1e-5
        low, high = max(t - h, 0.0), min(t + h, 1.0)
        slope = (path(high) - path(low)) / (high - low)
        alpha = path(t)
        matrices, offsets = _affine(alpha)
        return np.einsum("k,kab->ab", slope, matrices), slope @ offsets, alpha

    def change(t: float, state: np.ndarray) -> np.ndarray:
        matrix, offset, alpha = velocity(t)
        mean, factor = state[:2], state[2:6].reshape(2, 2)  # x = mean + factor x_0, along the flow
        exact_mean = alpha @ MEANS
        cov = np.einsum("j,jab->ab", alpha**2, COVS)
        b = matrix @ exact_mean + offset
        cost = b @ b + np.trace(matrix @ cov @ matrix.T)
        return np.concatenate([matrix @ mean + offset, (matrix @ factor).ravel(), [cost]])

    state, h = np.concatenate([MEANS[0], np.linalg.cholesky(COVS[0]).ravel(), [0.0]]), 1 / STEPS
    for i in range(STEPS):
        t = i * h
        one = change(t, state)
        two = change(t + h / 2, state + h / 2 * one)
        three = change(t + h / 2, state + h / 2 * two)
        four = change(t + h, state + h * three)
        state = state + h / 6 * (one + 2 * two + 2 * three + four)
    factor = state[2:6].reshape(2, 2)
    return state[:2], factor @ factor.T, float(state[6])


def _transport() -> list[Claim]:
    where = f"{PAPER}, transport between marginals along any path of the simplex"
    claims = []
    for name, path in (("the edge", _edge), ("a bent path", _bent)):
        mean, cov, _ = _moments(path)
        off = float(max(np.max(np.abs(mean - MEANS[1])), np.max(np.abs(cov - COVS[1]))))
        words = f"Error of mean and covariance of rho_1 from rho_0 along {name}"
        claims.append(Claim(words, where, off, "< 1e-3", None, off < 1e-3))
    return claims


def _rough_cost(coefficients: Any) -> float:
    """The cost of a bent path by the trapezoidal rule, with its exact moments."""
    t = np.linspace(0, 1, 201)
    alphas = np.stack([_bent(v, coefficients) for v in t])
    total = []
    for alpha, slope in zip(alphas, np.gradient(alphas, t, axis=0), strict=True):
        matrices, offsets = _affine(alpha)
        matrix, b = np.einsum("k,kab->ab", slope, matrices), slope @ offsets
        b = b + matrix @ (alpha @ MEANS)
        cov = np.einsum("j,jab->ab", alpha**2, COVS)
        total.append(b @ b + np.trace(matrix @ cov @ matrix.T))
    return float(np.trapezoid(total, t))


def _optimise() -> np.ndarray:
    """The coefficients of the bent path of least cost."""
    from scipy.optimize import minimize

    found = minimize(_rough_cost, np.array([0.0, 0.05, 0.1]), method="Nelder-Mead", options={"maxiter": 120})
    return found.x


def _wasserstein() -> float:
    """W2^2 between rho_0 = N(m_0, I) and rho_1."""
    roots = np.sqrt(np.linalg.eigvalsh(COVS[1]))  # S_0 is the identity
    return float(np.sum((MEANS[0] - MEANS[1]) ** 2) + np.trace(COVS[0] + COVS[1]) - 2 * np.sum(roots))


def _cost(optimised: np.ndarray) -> list[Claim]:
    edge, bent = _moments(_edge)[2], _moments(lambda t: _bent(t, optimised))[2]
    least = _wasserstein()
    mean, cov, _ = _moments(lambda t: _bent(t, optimised))
    off = float(max(np.max(np.abs(mean - MEANS[1])), np.max(np.abs(cov - COVS[1]))))
    where = f"{PAPER}, optimisation of the path after learning"
    return [
        Claim("Transport cost of the optimised path", where, bent, "< the edge's", edge, bent < edge),
        Claim(
            "Largest weight of the third marginal on it: mixing an independent third in only costs",
            "Beyond the paper: measured here",
            float(max(_bent(t, optimised)[2] for t in np.linspace(0, 1, 51))),
            "< 0.01",
            None,
            max(_bent(t, optimised)[2] for t in np.linspace(0, 1, 51)) < 0.01,
        ),
        Claim(
            "Its excess over the Wasserstein distance",
            "Benamou and Brenier (2000)",
            bent - least,
            ">= 0",
            edge - least,
            bent >= least,
        ),
        Claim("Error of mean and covariance of rho_1 along it", where, off, "< 1e-3", None, off < 1e-3),
    ]


def _score() -> Claim:
    """s = -g_0 / alpha_0 for rho_0 = N(0, I), against the score of the Gaussian of x(alpha)."""
    rng, off = np.random.default_rng(5), 0.0
    for _ in range(100):
        alpha = 0.05 + 0.85 * rng.dirichlet(np.ones(3))
        alpha /= alpha.sum()
        x = 3 * rng.normal(size=2)
        matrices, offsets = _affine(alpha)
        cov = np.einsum("j,jab->ab", alpha**2, COVS)
        score = -np.linalg.solve(cov, x - alpha @ MEANS)
        off = max(off, float(np.max(np.abs(-(matrices[0] @ x + offsets[0]) / alpha[0] - score))))
    where = f"{PAPER}, score of the interpolant where one marginal is standard normal"
    return Claim(
        "Largest error of the score -g_0 / alpha_0 at 100 random points", where, off, "< 1e-9", None, off < 1e-9
    )


def _draw(optimised: np.ndarray, path: Path) -> None:
    """Weights along the paths, and the ellipses that they pass through."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    t = np.linspace(0, 1, 101)
    curves = {"edge": _edge, "optimised": lambda v: _bent(v, optimised)}
    circle = np.stack([np.cos(2 * np.pi * t), np.sin(2 * np.pi * t)])
    for colour, (name, curve) in zip(("C0", "C1"), curves.items(), strict=True):
        left.plot(t, [curve(v)[2] for v in t], colour, label=name)
        for v in np.linspace(0, 1, 6):
            alpha = curve(v)
            root = np.linalg.cholesky(np.einsum("j,jab->ab", alpha**2, COVS))
            right.plot(*((alpha @ MEANS)[:, None] + root @ circle), colour, lw=0.8)
    left.set(title="weight of the third marginal", xlabel="t", ylabel="weight")
    left.legend()
    right.set(title="one-sd ellipses on the way", aspect="equal")
    figure.savefig(path)
