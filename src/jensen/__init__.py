"""Jensen: approximate Bayesian inference by variational principles. A model and data in, a certified posterior out.

import jensen as jn
fit = jn.fit(model, data, key=jax.random.key(0))     # a NumPyro model, or any jensen target
fit.certificate.passed, fit.posterior.sample(key, 1000)
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jensen import (
        algorithms,
        amortised,
        calibration,
        certificate,
        core,
        datasets,
        diffusion,
        families,
        gp,
        gradient_estimators,
        metrics,
        objectives,
        progress,
        targets,
        vae,
    )
    from jensen._ladder import fit
    from jensen._run import Plateau, local_mesh, run
    from jensen.certificate import certify
    from jensen.core import Certificate, Check, Fit, InputError, JensenError, Posterior, Run, Target
    from jensen.core.storage import load_fit as load

__version__ = "0.1.0"

# XLA gives its pool for the CPU a thread a core, and batched factorisations wait in it for parts of themselves: on two
# cores two that run at once wait for ever (jaxlib 0.10). Read when JAX first computes; what the user has set stays.
# A pool of one never waits, and more threads than its one core would make each small step twice as dear.
_usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
if 1 < _usable < 8:
    os.environ.setdefault("PJRT_NPROC", "8")

_MODULES = (
    "algorithms",
    "amortised",
    "calibration",
    "certificate",
    "core",
    "datasets",
    "diffusion",
    "families",
    "gp",
    "gradient_estimators",
    "metrics",
    "objectives",
    "plots",
    "progress",
    "report",
    "targets",
    "vae",
)
_NAMES = {
    "fit": "jensen._ladder:fit",
    "run": "jensen._run:run",
    "local_mesh": "jensen._run:local_mesh",
    "Plateau": "jensen._run:Plateau",
    "certify": "jensen.certificate:certify",
    "load": "jensen.core.storage:load_fit",
} | {
    name: f"jensen.core:{name}"
    for name in ("Certificate", "Check", "Fit", "InputError", "JensenError", "Posterior", "Run", "Target")
}

__all__ = [
    "Certificate",
    "Check",
    "Fit",
    "InputError",
    "JensenError",
    "Plateau",
    "Posterior",
    "Run",
    "Target",
    "algorithms",
    "amortised",
    "calibration",
    "certificate",
    "certify",
    "core",
    "datasets",
    "diffusion",
    "families",
    "fit",
    "gp",
    "gradient_estimators",
    "load",
    "local_mesh",
    "metrics",
    "objectives",
    "progress",
    "run",
    "targets",
    "vae",
]


def __getattr__(name: str) -> Any:
    # on first use: time to the first posterior is what people feel
    if name in _MODULES:
        return importlib.import_module(f"jensen.{name}")
    if name in _NAMES:
        module, _, attribute = _NAMES[name].partition(":")
        value = getattr(importlib.import_module(module), attribute)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'jensen' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
