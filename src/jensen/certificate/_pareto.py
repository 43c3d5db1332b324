"""Pareto-smoothed importance sampling on the host: it runs once a certificate, and compiling it would take a second."""

import math

import numpy as np


def fit_generalised_pareto(exceedances: np.ndarray) -> tuple[float, float]:
    """(k, sigma) of a generalised Pareto distribution fitted to sorted positive `exceedances`, shape (m,).

    The quasi-Bayesian estimate of Zhang and Stephens (2009): the rate b = -k / sigma is averaged over a grid by its
    profile likelihood, then k = mean log(1 - b x) is drawn towards 0.5 as ten further observations would.
    """
    x, m = exceedances, len(exceedances)
    grid = 30 + int(math.sqrt(m))
    quartile = x[int(m / 4 + 0.5) - 1]
    b = 1 / x[-1] + (1 - np.sqrt(grid / (np.arange(1, grid + 1) - 0.5))) / (3 * quartile)
    k = np.mean(np.log1p(-b[:, None] * x), axis=1)
    profile = m * (np.log(-b / k) - k - 1)
    weights = np.exp(profile - profile.max())
    mean_b = np.sum(b * weights) / np.sum(weights)
    shape = float(np.mean(np.log1p(-mean_b * x)))
    return (m * shape + 10 * 0.5) / (m + 10), -shape / mean_b


def smooth(log_ratio: np.ndarray) -> tuple[np.ndarray, float]:
    """(normalised smoothed log weights, Pareto k-hat) of log importance ratios, shape (n,), -inf for weight zero.

    The min(n / 5, 3 sqrt n) largest ratios are replaced by quantiles of the generalised Pareto distribution fitted to
    them. k-hat is 0 where the largest ratios are equal up to rounding, infinite where fewer than 5 are positive.
    Source: Vehtari, Simpson, Gelman, Yao, Gabry (2024), Algorithm 1.
    """
    n = len(log_ratio)
    tail = max(5, math.ceil(min(0.2 * n, 3 * math.sqrt(n))))
    largest = log_ratio.max()
    shifted = log_ratio - largest
    order = np.argsort(shifted, kind="stable")
    cutoff = max(shifted[order[-tail - 1]], math.log(np.finfo(float).tiny))
    places = order[shifted[order] > cutoff]
    spread = 1e4 * np.finfo(log_ratio.dtype).eps * (1 + abs(float(largest)))
    weights = shifted.astype(float)
    if len(places) >= 5 and -cutoff > spread:
        threshold = math.exp(cutoff)
        exceedances = np.exp(shifted[places].astype(float)) - threshold
        khat, sigma = fit_generalised_pareto(exceedances)
        if math.isfinite(khat):
            points = (np.arange(len(places)) + 0.5) / len(places)
            powers = np.expm1(-khat * np.log1p(-points)) / khat if khat != 0 else -np.log1p(-points)
            weights[places] = np.minimum(np.log(threshold + sigma * powers), 0.0)
    else:
        khat = 0.0 if -cutoff <= spread else math.inf
    top = weights.max()
    return weights - top - math.log(np.sum(np.exp(weights - top))), khat
