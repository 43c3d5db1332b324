"""Results: a `Fit` holds a posterior, its certificate and the runs that led there; a `Run` is one algorithm's work."""

from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np

from jensen.core.algorithm import StopCode
from jensen.core.certificate import Certificate
from jensen.core.posterior import Posterior
from jensen.core.random import PRNGKey


class History(eqx.Module):
    """Numbers recorded step by step, as NumPy arrays of shape (steps,)."""

    objective: np.ndarray
    residual: np.ndarray
    scalars: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.objective)


class Run(eqx.Module):
    """One algorithm's work on one target: its settings in words, its history, why it stopped, and what went on.

    `seconds` is wall time including compilation, `steps` the number of steps taken, `notes` what the loop did beyond
    stepping (restored after NaN, shrank the step ...), `verdict` its certificate's judgement in one line.
    """

    algorithm: str
    settings: dict[str, Any]
    history: History
    stop: StopCode
    seconds: float
    notes: tuple[str, ...] = ()
    verdict: str = ""
    certificate: Certificate | None = None

    @property
    def steps(self) -> int:
        """Number of steps taken."""
        return len(self.history)


class Fit(eqx.Module):
    """What inference hands back: `posterior`, `certificate`, and `runs` in the order in which they were tried.

    `info` is plain data about where the fit comes from (versions, seed, command, data hash); `predictive` and
    `observed` are draws from the posterior predictive distribution and the data they answer to, where the target has
    them. `shared`: whether it was had over several processes, each of which holds it; the first one alone saves it.
    """

    posterior: Posterior
    certificate: Certificate | None
    runs: tuple[Run, ...]
    info: dict[str, Any] = eqx.field(default_factory=dict)
    predictive: dict[str, np.ndarray] = eqx.field(default_factory=dict)
    observed: dict[str, np.ndarray] = eqx.field(default_factory=dict)
    shared: bool = eqx.field(static=True, default=False)

    @property
    def history(self) -> History:
        """History of the run that gave the posterior."""
        return self.runs[-1].history

    def to_arviz(self, key: PRNGKey | None = None, num_draws: int = 1000) -> Any:
        """ArviZ `InferenceData` of the posterior (drawn with `key`; the fit's own key where none is given)."""
        from jensen.core._arviz import fit_to_inference_data

        return fit_to_inference_data(self, key, num_draws)

    def save(self, path: str | Path, overwrite: bool = False) -> Path:
        """Write the fit into the folder `path`, atomically; `jensen.load(path)` reads it back without the model.

        Raises `StorageError` if the folder exists and is not empty (unless `overwrite`), or cannot be written.
        """
        from jensen.core.storage import save_fit

        if self.shared and jax.process_index() != 0:
            return Path(path).absolute()
        return save_fit(self, path, overwrite=overwrite)

    def __str__(self) -> str:
        lines = [f"{type(self.posterior).__name__} on {self.posterior.space.dimension} unconstrained coordinates"]
        for run in self.runs:
            lines.append(f"  {run.algorithm}: {run.steps} steps, {run.seconds:.2f} s, {run.stop.words}. {run.verdict}")
        return "\n".join([*lines, str(self.certificate)])
