"""NumPyro models as simulators of their latent and observed sites."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import InputError, PRNGKey, Space, Target
from jensen.targets._numpyro import Model, NumPyroTarget, from_numpyro
from jensen.targets._numpyro_rows import NumPyroRows
from jensen.targets._simulators import Simulator


class Reobserved(Target):
    """The posterior of a NumPyro model given `data` in place of the values that its observed sites had."""

    target: NumPyroTarget
    data: dict[str, Array]

    @property
    def space(self) -> Space:
        return self.target.space

    def _inner(self) -> NumPyroTarget:
        from jensen.targets._handlers import Reobserve

        model = self.target.model
        fn = Reobserve(model.fn, self.data)  # built inside each trace: data stay leaves of this target
        replaced = Model(fn, model.args, model.kwargs, model.plates, model.rows)
        return NumPyroTarget(self.target.space, replaced, self.target.observed_names)

    def log_density(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        return self._inner().log_density(z)

    def predict(self, key: PRNGKey, z: Float[Array, " d"]) -> dict[str, Array]:
        return self.target.predict(key, z)

    def observed(self) -> dict[str, Array]:
        return self.data

    def diagnose(self, z: Float[Array, " d"]) -> str:
        terms = eqx.filter_jit(lambda target, z: target._inner().site_terms(z))(self, z)
        bad = {name: float(v) for name, v in terms.items() if not jnp.isfinite(v)}
        return ", ".join(f"site {name!r} has log density {v}" for name, v in bad.items())


class NumPyroSimulator(Simulator):
    """z and data from one run of a NumPyro model whose observed sites are freed; data are a dict by site."""

    target: NumPyroTarget

    @property
    def space(self) -> Space:
        return self.target.space

    def simulate(self, key: PRNGKey) -> tuple[Float[Array, " d"], dict[str, Array]]:
        from jensen.targets._handlers import Unobserve

        names = self.target.observed_names
        trace = self.target.model.trace(lambda fn: Unobserve(fn, names), key)
        z = self.space.unconstrain({name: trace[name]["value"] for name in self.space.names})
        return z, {name: trace[name]["value"] for name in names}

    def condition(self, data: Any) -> Target:
        names = self.target.observed_names
        if not isinstance(data, dict) or set(data) != set(names):
            raise InputError(f"data must be a dict of the observed sites {', '.join(names)}")
        return Reobserved(self.target, data)  # pyright: ignore[reportCallIssue]


def simulator_from_numpyro(model: Callable[..., Any], *args: Any, **kwargs: Any) -> NumPyroSimulator:
    """A simulator of a NumPyro `model`, called as `model(*args, **kwargs)`: prior draws and data drawn at them.

    The arguments are those that the model is fitted with: observed sites keep their shapes, their values are not used.
    `condition(data)` is the posterior of simulated data, for arrays of the same shapes without a new compilation.

    Raises `InputError` as `from_numpyro`, and if the model has no observed site, an improper prior (named), or a
    `factor`, which changes the prior in a way that simulation cannot follow.
    """
    target = from_numpyro(model, *args, **kwargs)
    full = target.full if isinstance(target, NumPyroRows) else target
    if not isinstance(full, NumPyroTarget):
        raise InputError("Only models whose latent sites are all continuous can be simulated into R^d")
    if not full.observed_names:
        raise InputError(
            "The model has no observed site, so that there are no data to simulate: pass obs=... somewhere"
        )
    kinds: dict[str, str] = {}

    def look() -> None:
        for name, site in full.model.trace(lambda fn: fn).items():
            if site["type"] == "sample":
                kinds[name] = type(site["fn"]).__name__

    jax.eval_shape(look)
    for name, kind in kinds.items():
        if kind == "ImproperUniform":
            raise InputError(f"Site {name!r} has an improper prior, which cannot be simulated: give it a proper one")
        if kind in ("Unit", "Delta"):
            raise InputError(f"Site {name!r} is a factor or a point mass: its effect on the prior cannot be simulated")
    return NumPyroSimulator(full)  # pyright: ignore[reportCallIssue]
