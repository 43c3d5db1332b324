"""How far each row's approximate posterior may be trusted: Pareto k-hat of its importance weights, row by row."""

import math
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float

from jensen.certificate._pareto import smooth
from jensen.certificate.weights import khat_threshold
from jensen.core import Certificate, Check, InputError, PRNGKey, check_key, in_batches
from jensen.vae.model import row_target

ROWS = 50  # at a time
HIGH = 0.7  # k-hat above which moments by the weights of any number of draws are not to be had
SOURCE = "Vehtari, Simpson, Gelman, Yao, Gabry (2024)"


class RowCertificate(eqx.Module):
    """k-hat of each row, `khat` (rows,), and the `certificate` that speaks of the worst.

    `elbo` (rows,): E log p(x, z) / q(z | x), in nats, by the same draws. A k-hat above 0.7 says that q(z | x) is too
    narrow or in the wrong place for that row: its bound is loose, and its codes are not draws of the posterior.
    """

    khat: Float[np.ndarray, " rows"]
    elbo: Float[np.ndarray, " rows"]
    certificate: Certificate

    @property
    def worst(self) -> float:
        """The largest k-hat."""
        return float(np.max(self.khat))

    @property
    def share(self) -> float:
        """Of rows with k-hat above 0.7."""
        return float(np.mean(self.khat > HIGH))


def certify_rows(
    key: PRNGKey, model: Any, conditional: Any, X: Float[Array, "rows n"], num_draws: int = 1000
) -> RowCertificate:
    """Pareto-smoothed importance sampling of each row: draws of q(z | x), weighed by p(x, z) / q(z | x).

    The draws are fresh, whatever trained q. k-hat does not see mass of p(z | x) that q hardly visits: compare
    `annealed_evidence` from the prior with the importance-weighted bound. It says nothing of the decoder, which may be
    a poor model of the rows with an exact posterior. Costs `num_draws` decoder calls a row.

    Raises `InputError` for fewer than 100 draws, of which no tail can be told, and where X is no matrix of rows.

    Source: Vehtari, Simpson, Gelman, Yao and Gabry (2024), Pareto smoothed importance sampling.
    """
    check_key(key)
    if num_draws < 100:
        raise InputError(f"k-hat of a row wants at least 100 draws, got {num_draws}")
    if X.ndim != 2 or 0 in X.shape:
        raise InputError(f"X must have shape (rows, values), got {X.shape}")
    ratios = np.asarray(_log_ratios(key, model, conditional, X, num_draws), float)
    ratios = np.where(np.isnan(ratios), -np.inf, ratios)
    khat = np.asarray([smooth(row)[1] if np.any(np.isfinite(row)) else np.inf for row in ratios])
    elbo = ratios.mean(1)
    threshold = khat_threshold(num_draws)
    worst, share = float(np.max(khat)), float(np.mean(khat > HIGH))
    place = int(np.argmax(khat))
    checks = (
        Check(
            name="k-hat, worst row",
            value=worst,
            standard_error=math.nan,
            threshold=threshold,
            holds=worst <= threshold,
            independent=True,
            blind_to="mass of a row's posterior that its q hardly visits",
            words=f"q(z | x) of row {place} is no proposal for its posterior (k-hat {worst:.2f}).",
            advice="Take a richer posterior (full_rank), a larger encoder, or more training; or refine such rows by "
            "importance weights or NUTS on vae.row_target.",
            source=SOURCE,
        ),
        Check(
            name="rows with k-hat > 0.7",
            value=share,
            standard_error=math.nan,
            threshold=0.0,
            holds=share == 0.0,
            independent=True,
            words=f"{share:.1%} of {len(khat)} rows have a k-hat above 0.7.",
            source=SOURCE,
        ),
    )
    finite = bool(np.all(np.isfinite(ratios)))
    spread = np.std(ratios, axis=1, ddof=1) if finite else np.full(len(khat), np.inf)
    error = float(np.sqrt(np.sum(spread**2) / num_draws))
    total = Certificate(checks, khat=worst, elbo=float(np.sum(elbo)), elbo_standard_error=error, num_draws=num_draws)
    return RowCertificate(khat, elbo, total)


@eqx.filter_jit
def _log_ratios(key: PRNGKey, model: Any, conditional: Any, X: Array, num_draws: int) -> Float[Array, "rows draws"]:
    def row(pair: tuple[PRNGKey, Array]) -> Float[Array, " draws"]:
        key, x = pair
        q, target = conditional.given(x), row_target(model, x)

        def log_ratio(key: PRNGKey) -> Float[Array, ""]:
            z, log_q = q.sample_and_log_prob(key)
            return target.log_density(z) - log_q

        return jax.vmap(log_ratio)(jax.random.split(key, num_draws))

    return in_batches(row, (jax.random.split(key, len(X)), X), ROWS)
