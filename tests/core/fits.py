"""A small fit to save, load and damage."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from jensen.core import (
    Certificate,
    Check,
    DensityPosterior,
    Fit,
    History,
    Run,
    Space,
    StopCode,
    Variable,
    interval,
    positive,
)
from jensen.core.support import Support
from jensen.families import Gaussian

SPACE = Space(
    (
        Variable("mu", (2,)),
        Variable("sigma", (), positive()),
        Variable("p", (), interval(0.25, 0.75)),
        Variable("w", (3,), Support("simplex")),
    )
)
D = SPACE.dimension
Q = Gaussian(jnp.arange(D) / 7.0, jnp.eye(D) + 0.1 * jnp.tril(jnp.ones((D, D))))
CHECK = Check(
    "k-hat", float("nan"), float("inf"), 0.7, False, "far modes", True, "Heavy <tail>.", "Use a flow.", "V. (2024)"
)


def a_fit(posterior=None, **changes):
    history = History(np.array([3.0, np.nan, 1.0]), np.full(3, np.inf), {"rate": np.ones(3)})
    certificate = Certificate((CHECK,), khat=0.9, elbo=-np.inf)
    settings = {"rate": 0.1, "nested": {"size": 3}, "limit": np.inf}
    run = Run("BatchMatch", settings, history, StopCode.PLATEAU, 1.25, ("a note",), "not certified", certificate)
    posterior = DensityPosterior(SPACE, Q) if posterior is None else posterior
    info = {"seed": 3, "versions": {"jensen": "0.1"}, "when": float("nan")}
    fit = Fit(posterior, certificate, (run, run), info, {"y": np.ones((5, 2))}, {"y": np.arange(2)})
    return dataclasses.replace(fit, **changes)
