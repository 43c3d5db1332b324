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

    def joint(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """log of p(row, component) up to its largest a row, and that."""
        zeros = np.log1p(-p)
        log = rows @ (np.log(p) - zeros).T + (np.log(weights) + zeros.sum(1))
        top = log.max(1, keepdims=True)
        return log - top, top[:, 0]

    for _ in range(rounds):
        shares = np.exp(joint(X)[0])
        shares /= shares.sum(1, keepdims=True)
        counts = shares.sum(0)
        weights = (counts + prior) / (counts + prior).sum()
        p = (shares.T @ X + prior) / (counts + 2 * prior)[:, None]
    log, top = joint(test)
    return float(np.mean(top + np.log(np.exp(log).sum(1))))
