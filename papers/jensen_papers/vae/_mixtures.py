"""Binary digits, and the mixture that models without learned latents are held against."""

import numpy as np

import jensen as jn


def binary_digits(split: int) -> tuple[np.ndarray, np.ndarray]:
    """Training (1,437) and test (360) rows of the 8 x 8 digits, thresholded at 8, by this split's permutation."""
    data = jn.datasets.load("digits")
    X = (np.asarray(data["images"], float).reshape(-1, 64) >= 8).astype(float)
    order = np.random.default_rng(split).permutation(len(X))
    return X[order[:1437]], X[order[1437:]]


def mixture_of_bernoullis(
    X: np.ndarray, test: np.ndarray, components: int, rounds: int = 50, prior: float = 0.5
) -> float:
    """The test log likelihood of a mixture of independent Bernoullis by EM with half a count on each side."""
    rng = np.random.default_rng(components)
    weights, p = np.full(components, 1 / components), 0.25 + 0.5 * X[rng.choice(len(X), components, replace=False)]

    def joint(rows: np.ndarray) -> np.ndarray:
        return np.log(weights) + rows @ np.log(p).T + (1 - rows) @ np.log1p(-p).T

    for _ in range(rounds):
        log = joint(X)
        shares = np.exp(log - np.logaddexp.reduce(log, 1, keepdims=True))
        counts = shares.sum(0)
        weights = (counts + prior) / (counts + prior).sum()
        p = (shares.T @ X + prior) / (counts + 2 * prior)[:, None]
    return float(np.mean(np.logaddexp.reduce(joint(test), 1)))
