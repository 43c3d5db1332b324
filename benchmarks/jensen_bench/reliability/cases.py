"""Runs that are killed and taken up again: small, of many saves, and of every kind of state."""

import dataclasses
import hashlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Case:
    """A run: `go(checkpoint)` makes it, saving in that folder, or nowhere where it is None, and returns its result.

    `share`: of the usual number of kills, for runs whose processes take long to begin.
    """

    go: Callable[[Path | None], Any]
    share: float = 1.0


def _rows() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 4))
    return x, (rng.random(400) < 1 / (1 + np.exp(-x @ np.array([1.0, -1.0, 0.5, 0.0])))).astype(float)


def logistic() -> Any:
    """A logistic regression on 400 rows, 4 coefficients with N(0, 1) priors."""
    import jax
    import jax.numpy as jnp

    import jensen as jn

    def log_prior(beta):
        return -0.5 * jnp.sum(beta**2)

    def log_likelihood(beta, rows):
        x, y = rows
        logits = x @ beta
        return y * logits - jax.nn.softplus(logits)

    return jn.targets.from_rows(log_prior, log_likelihood, _rows(), jnp.zeros(4))


def _drive(algorithm: Any, target: Any, steps: int, chunk: int, checkpoint: Path | None) -> Any:
    import jax

    from jensen._run import drive

    return drive(algorithm, target, key=jax.random.key(7), steps=steps, chunk=chunk, checkpoint=checkpoint)


def _gradient(checkpoint: Path | None) -> Any:
    from jensen import algorithms, targets

    algorithm = algorithms.GradientVI(learning_rate=0.05)
    return _drive(algorithm, targets.Minibatched(logistic(), 32), 600, 4, checkpoint)


def _nuts(checkpoint: Path | None) -> Any:
    from jensen import algorithms

    return _drive(algorithms.NUTS(chains=2), logistic(), 300, 3, checkpoint)


def _smc(checkpoint: Path | None) -> Any:
    from jensen import algorithms

    return _drive(algorithms.TemperedSMC(num_particles=200), logistic(), 40, 1, checkpoint)


def _batch_match(checkpoint: Path | None) -> Any:
    from jensen import algorithms

    return _drive(algorithms.BatchMatch(tolerance=0.0), logistic(), 120, 1, checkpoint)


def _autoencoder(checkpoint: Path | None) -> Any:
    from jensen.vae import VAE

    rows = np.random.default_rng(1).normal(size=(200, 4))
    vae = VAE(1, hidden=(4,), epochs=60, batch_size=20, validation_fraction=0, random_state=0, checkpoint=checkpoint)
    vae.fit(rows)
    return vae.model_, vae.conditional_, vae.history_


def _ladder(checkpoint: Path | None) -> Any:
    import jax

    import jensen as jn
    from jensen.targets.synthetic import Funnel

    target: Any = Funnel
    fit = jn.fit(target(dimension=3), key=jax.random.key(3), checkpoint=checkpoint)
    return fit.posterior, [run.history for run in fit.runs], fit.certificate


CASES = {
    "BatchMatch": Case(_batch_match),
    "NUTS": Case(_nuts),
    "GradientVI on minibatches": Case(_gradient),
    "TemperedSMC": Case(_smc),
    "VAE": Case(_autoencoder, 0.2),
    "fit (the ladder)": Case(_ladder, 0.2),
}


def digest(result: Any) -> str:
    """SHA-256 of all arrays of a result (an `Outcome`: its state, history and posterior; wall time is left out)."""
    import jax

    run = getattr(result, "run", None)
    if run is not None:
        result = (result.posterior, result.state, run.history, list(run.notes), int(run.stop))
    sha = hashlib.sha256()
    for leaf in jax.tree.leaves(result):
        if callable(leaf):  # activation functions of networks
            continue
        value = np.asarray(leaf)
        if value.dtype.kind == "O":
            raise TypeError(f"{type(leaf).__name__} has no bits to compare")
        sha.update(f"{value.dtype}{value.shape}".encode() + value.tobytes())
    return sha.hexdigest()


def perform(name: str, checkpoint: Path | None) -> str:
    """The digest of the case's result; a checkpoint that is found damaged is an error here."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        return digest(CASES[name].go(checkpoint))
