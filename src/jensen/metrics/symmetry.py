"""Symmetry of calibration probabilities: whether point estimates are biased."""

from typing import Any

import numpy as np
from jaxtyping import Float

from jensen.core import InputError


def symmetry(probabilities: Any) -> Float[np.ndarray, " d"]:
    """p-value, a parameter, of the signed-rank test that posterior probabilities Q(z < truth) are symmetric about 1/2.

    Over data sets from the prior these probabilities are uniform where the posterior q is exact. Where q is only too
    narrow or too wide they are still symmetric, so that a small p-value says that its centre is biased. Values are
    those of the normal approximation (20 simulations or more), ties at zero left out.

    Raises `InputError` for values outside [0, 1] or fewer than 20 simulations.

    Source: Yao, Vehtari, Simpson, Gelman (2018), variational simulation-based calibration; Wilcoxon (1945) in place of
    the two-sample test there, which takes p and 1 - p for independent.
    """
    p = np.asarray(probabilities, float)
    if p.ndim != 2 or len(p) < 20 or not np.all((p >= 0) & (p <= 1)):
        raise InputError(f"probabilities in [0, 1] of shape (simulations >= 20, d) are wanted, got shape {p.shape}")
    from scipy.special import erfc
    from scipy.stats import rankdata

    out = []
    for column in p.T:
        shift = column - 0.5
        shift = shift[shift != 0]
        if not len(shift):
            out.append(1.0)
            continue
        ranks = rankdata(np.abs(shift))
        statistic = np.sum(ranks * np.sign(shift)) / np.sqrt(np.sum(ranks**2))
        out.append(float(erfc(abs(statistic) / np.sqrt(2))))
    return np.asarray(out)
